"""Finding what identifies a person or their money by its form: mail addresses, telephone, card and account numbers.

Numbers with a checksum count only where it is right, so that an id or a date that looks alike stays readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["PERSONAL", "personal", "without_personal"]

PERSONAL = "[personal]"

# None of them can be begun at many places of a text and be followed far from each: what is looked at may be hostile.
_MAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_PHONE = re.compile(
    r"""(?<![\w.+])(?:
        \+\d{1,3}(?:[ ./-]?\(?\d{1,4}\)?){2,6}   # with the country's code
        |\(\d{3}\)\ ?\d{3}[ .-]\d{4}             # as in North America
        |\d{3}[.-]\d{3}[.-]\d{4}
        |1[3-9]\d(?:[ -]?\d{4}){2}               # a mobile telephone in China
    )(?![\w-])""",
    re.VERBOSE,
)
_DIGITS = re.compile(r"\D")


def personal(text: str) -> Iterator[tuple[int, int]]:
    """Where personal data stands in `text`: spans of characters, in no order, which may overlap."""
    if "@" in text:
        yield from (found.span() for found in _MAIL.finditer(text))
    yield from (found.span() for found in _CARD.finditer(text) if _luhn(_DIGITS.sub("", found[0])))
    yield from (found.span() for found in _IBAN.finditer(text) if _mod97(found[0].replace(" ", "")))
    yield from (found.span() for found in _PHONE.finditer(text) if 8 <= len(_DIGITS.sub("", found[0])) <= 15)


def without_personal(text: str) -> str:
    """`text` with `PERSONAL` in place of personal data."""
    kept, at = [], 0
    for start, end in sorted(personal(text)):
        if start >= at:
            kept += [text[at:start], PERSONAL]
        at = max(at, end)
    return "".join((*kept, text[at:])) if kept else text


def _luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of a payment card (ISO/IEC 7812-1)."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return len(set(digits)) > 1 and sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def _mod97(account: str) -> bool:
    """Whether the two digits behind the country are the check digits of an account (ISO 13616)."""
    moved = account[4:] + account[:4]
    return len(account) <= 34 and int("".join(str(int(char, 36)) for char in moved)) % 97 == 1
