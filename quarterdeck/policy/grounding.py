"""Whether a value stands in somebody's words: what an attacker put into a document does not stand in the user's.

Texts are compared folded (NFKC, lower case, one space, no invisible characters) and by whole tokens: ``bob@corp.example``
does not stand in ``bob@corp.example.net``, nor ``report.pdf`` in ``secret/report.pdf``. Numbers compare as numbers. Chinese
has no spaces, so there a value may stand inside a longer run of characters.

What is executed is the value and not its fold: ``info@straße.example`` and ``report\u200b.pdf`` are another address and
another file than what they look like. So a value that folding changes by more than case must stand to the letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from quarterdeck.core.text import CJK, has_cjk

__all__ = ["Ground", "addresses", "date_in", "fold", "host_of", "leaves", "lines", "names_something"]

_WORD_ENDS = re.compile(rf"[\W{CJK}]")
_NEAR = 16  # characters beside a value that are looked at; a longer run of connectors ends a token
_INVISIBLE = dict.fromkeys(
    map(ord, "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff")
)
_NUMBER = re.compile(r"(?<![a-z_\d.,])[-+]?\d[\d,]*(?:\.\d+)?(?![a-z_\d])")
_CONTINUES_AFTER = frozenset("-.@/\\+:=&%#?~")  # followed by a word character, perhaps after more of them, the token goes on
_CONTINUES_BEFORE = frozenset("-.@/\\+=&%#?~!$*^'")
_CJK_PUNCTUATION = dict.fromkeys(map(ord, "，：；！？（）、「」『』《》"), " ")  # ends an address; "。" is a dot to browsers

_ADDRESSES = (
    # Each begins only where a token does: a scan from every character would be quadratic in a text without spaces.
    re.compile(r"(?<![a-z0-9+.-])[a-z0-9+.-]+://[^\s<>\"'`]+"),
    re.compile(r"(?<![^\s<>\"'`()\[\],;:@])[^\s<>\"'`()\[\],;:@]+@[^\s<>\"'`()\[\],;:]+"),
    re.compile(r"(?<![\w@.-])[_.-]*((?:[^\W_][\w-]*\.)+[^\W\d_]{2,24}(?::\d+)?(?:[/?#][^\s<>\"'`]*)?)"),
)
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}(?:[t ]\d{2}:\d{2}(?::\d{2})?)?\b")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?(?:Z|[+-]\d{2}:\d{2})?)?\Z", re.ASCII)
_PHONE = re.compile(r"(?<![\w.,])\+?\d(?:[ ().\-/]{0,2}\d){6,30}(?![\w])")
_IBAN = re.compile(r"(?<![\w])[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?(?![\w])")
_FEWEST_DIGITS = 7  # of a telephone number; the number of an account or card has more
_HOST = re.compile(r"[^\W_](?:[\w-]*\w)?(?:\.[^\W_](?:[\w-]*\w)?)*\.?\Z")
_MAILBOX = re.compile(r"[\w.+-]+\Z")
_PUNCTUATION = ".,;:!?)]}>'\"。，；：！？）」』"


def fold(text: str) -> str:
    """`text` as it is compared."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_INVISIBLE)).casefold()
    return " ".join(text.lower().split())


class Ground:
    """Texts in which values may stand."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(texts)

    @cached_property
    def text(self) -> str:
        """Everything, folded; a value never reaches from one text into the next."""
        return "\n".join(map(fold, self.texts))

    @cached_property
    def letters(self) -> str:
        """Everything to the letter, with one space where there are several."""
        return "\n".join(" ".join(text.split()) for text in self.texts)

    @cached_property
    def numbers(self) -> frozenset[Decimal]:
        return frozenset(Decimal(found.replace(",", "")) for found in _NUMBER.findall(self.text))

    @cached_property
    def lines(self) -> frozenset[str]:
        return frozenset[str]().union(*map(lines, self.texts))

    def holds(self, value: Any) -> bool:
        """True if a text or number stands here. Truth values, nothing and the empty text always do: they name nobody."""
        if value is None or isinstance(value, bool):
            return True
        if isinstance(value, int):  # equal to the decimal number, and of the same hash
            return value in self.numbers
        if isinstance(value, float):
            return _decimal(value) in self.numbers
        text = str(value)
        wanted = fold(text)
        if not wanted:
            return True
        return _stands(wanted, self.text) if _is_plain(text) else _stands(" ".join(text.split()), self.letters)


def _stands(wanted: str, text: str) -> bool:
    start = text.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        before, after = text[max(start - _NEAR, 0) : start][::-1], text[end : end + _NEAR]
        within = _goes_on(wanted[-1], after, _CONTINUES_AFTER) or _goes_on(wanted[0], before, _CONTINUES_BEFORE)
        if not within and not before.startswith(("/.", "\\.")):  # "../report.pdf" is not "report.pdf"
            return True
        start = text.find(
            wanted, _next(start, text) if before and _is_word(before[0]) and _is_word(wanted[0]) else start + 1
        )
    return False


def _next(start: int, text: str) -> int:
    """Where the next token can begin: what begins as a word does stands nowhere within another, however long that is."""
    ends = _WORD_ENDS.search(text, start)
    return len(text) if ends is None else ends.start() + 1


def names_something(value: Any) -> bool:
    """True for a number, and for a text that is not blank."""
    return bool(fold(value)) if isinstance(value, str) else isinstance(value, int | float) and not isinstance(value, bool)


def addresses(text: str) -> frozenset[str]:
    """Every link, e-mail address and host name in `text`, folded and, where that is another one, as it is spelled."""
    folded = fold(text)
    if "." not in folded and "@" not in folded and "://" not in folded:
        return frozenset()
    readings = [folded]
    if not text.isascii():
        spelled = text.translate(_CJK_PUNCTUATION)
        readings = [fold(spelled)] if _is_plain(spelled) else [fold(spelled), spelled.lower()]
    found = {
        match.rstrip(_PUNCTUATION).rstrip("/")
        for reading in readings
        for pattern in _ADDRESSES
        for match in pattern.findall(reading)
    }
    return frozenset(found - {""})


def lines(text: str) -> frozenset[str]:
    """Every number of a telephone, card or account and IBAN in `text`, without its spaces and dashes. Dates are none."""
    if sum(map(str.isdecimal, text)) < _FEWEST_DIGITS:
        return frozenset()
    folded = _DATE.sub(" ", fold(text))
    return frozenset("".join(filter(str.isalnum, match)) for pattern in (_PHONE, _IBAN) for match in pattern.findall(folded))


def date_in(value: Any) -> str | None:
    """The date of an ISO date or moment, as ``YYYY-MM-DD``; None for anything else, also a date with words behind it."""
    if not isinstance(value, str) or _MOMENT.match(value) is None:
        return None
    try:
        return datetime.fromisoformat(value).date().isoformat()
    except ValueError:
        return None


def host_of(address: str) -> str | None:
    """The host of a complete URL or an e-mail address; None where parsers could disagree about it."""
    if any(mark in address for mark in "\\\t\r\n ") or not address.isprintable():
        return None
    try:
        parts = urlsplit(address)
        host = parts.hostname if "://" in address and "@" not in parts.netloc else None
    except ValueError:
        return None
    if "://" not in address and address.count("@") == 1:
        mailbox, _, domain = address.partition("@")
        # "evil.example/@corp.example" is a path to whoever adds a scheme, and a comma ends an address.
        host = domain.lower() if _MAILBOX.match(mailbox) else None
    if host is None or not (_HOST.match(host) or _is_ip(host)):
        return None
    return host.rstrip(".")


def leaves(value: Any, fields: frozenset[str] = frozenset()) -> Iterator[Any]:
    """Every text, number and truth value in a JSON value, and every key that is not one of the schema's `fields`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in fields:
                yield key
            yield from leaves(item, fields)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item, fields)
    else:
        yield value


def _goes_on(edge: str, beyond: str, connectors: frozenset[str]) -> bool:
    """True if the token with `edge` as its last character continues in `beyond`."""
    if not beyond:
        return False
    if _is_word(beyond[0]):
        return _is_word(edge) or edge in connectors
    further = next((each for each in beyond if each not in connectors), "")
    return beyond[0] in connectors and further != "" and _is_word(further)


def _is_plain(text: str) -> bool:
    """True if folding changes nothing but case and spaces."""
    if text.isascii():
        return True
    same = text == text.translate(_INVISIBLE) == unicodedata.normalize("NFKC", text)
    return same and text.lower() == text.casefold()


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_word(character: str) -> bool:
    return (character.isalnum() or character == "_") and not has_cjk(character)


def _decimal(number: float) -> Decimal | None:
    try:
        return Decimal(str(number))
    except InvalidOperation:
        return None
