"""Finding what identifies a person or their money by its form: mail addresses, numbers of telephones, cards and accounts.

Numbers with a checksum count only where it is right, so that an id or a date that looks alike stays readable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

__all__ = ["KINDS", "PERSONAL", "found", "personal", "without_personal"]

PERSONAL = "[personal]"
KINDS = ("mail", "card", "iban", "chinese_id", "phone")

# None of them can be begun at many places of a text and be followed far from each: what is looked at may be hostile. What
# stands beside them is compared as ASCII, as Chinese writes numbers between its characters without a space.
_MAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b", re.ASCII)
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])", re.ASCII)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", re.ASCII)
_CHINESE_ID = re.compile(r"(?<![\w.-])[1-9]\d{5}(?:19|20)\d{2}[01]\d[0-3]\d{4}[0-9Xx](?![\w-])", re.ASCII)
_PHONE = re.compile(
    r"""(?<![\w.+])(?:
        \+\d{1,3}(?:[ ./-]?\(?\d{1,4}\)?){2,6}   # with the country's code
        |\(\d{3}\)\ ?\d{3}[ .-]\d{4}             # as in North America
        |\d{3}[.-]\d{3}[.-]\d{4}
        |1[3-9]\d(?:[ -]?\d{4}){2}               # a mobile telephone in China
        |0\d{2,3}-\d{7,8}                        # another one there, with the code of its city
    )(?![\w-])""",
    re.VERBOSE | re.ASCII,
)
_NARROW = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}  # the wide forms of ASCII, one character for another
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_DIGITS = re.compile(r"\D")


def personal(text: str) -> Iterator[tuple[int, int]]:
    """Where personal data stands in `text`: spans of characters, in no order, which may overlap."""
    for kind in KINDS:
        yield from found(kind, text)


def found(kind: str, text: str) -> Iterator[tuple[int, int]]:
    """Where personal data of one of `KINDS` stands in `text`, also in wide characters."""
    plain = text if text.isascii() else text.translate(_NARROW)
    match kind:
        case "mail" if "@" in plain:
            yield from (match.span() for match in _MAIL.finditer(plain))
        case "card":
            yield from (match.span() for match in _CARD.finditer(plain) if _luhn(_DIGITS.sub("", match[0])))
        case "iban":
            yield from (match.span() for match in _IBAN.finditer(plain) if _mod97(match[0].replace(" ", "")))
        case "chinese_id":
            yield from (match.span() for match in _CHINESE_ID.finditer(plain) if _mod11(match[0]))
        case "phone":
            yield from (match.span() for match in _PHONE.finditer(plain) if 8 <= len(_DIGITS.sub("", match[0])) <= 15)


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


def _mod11(number: str) -> bool:
    """Whether a Chinese identity number has a day of birth and the right check character (GB 11643-1999)."""
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == number[17].upper()
