"""Months and days of the week that a text names, in English and Chinese: "in March" does not bear out "in May"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

__all__ = ["MONTHS", "Dates", "dates", "names_other_dates"]

Dates = frozenset[str]
"""Of names: ``month 1`` to ``month 12``, ``day 1`` (Monday) to ``day 7``."""

MONTHS = "january february march april may june july august september october november december".split()
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_SHORT_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_NUMERALS = "一 二 三 四 五 六 七 八 九 十 十一 十二".split()
_CJK = {numeral: number for number, numeral in enumerate(_NUMERALS, 1)} | {"日": 7, "天": 7}

# "march" and "may" are months only with their capitals, "May" only where no verb stands; a short name beside a number.
_BEFORE_MAY = "in of by to or and from until till since before after during every each late early mid".split()
_BESIDE = "|".join(rf"(?<=\b(?i:{word})[\s-])" for word in _BEFORE_MAY)
_MONTH = rf"(?P<month>\b(?:{'|'.join(name.title() for name in MONTHS if name != 'may')})\b)"
_MAY = rf"(?P<may>(?:{_BESIDE}|(?<=\d\s)|(?<=\d(?:st|nd|rd|th)\s))May\b|\bMay(?=\s\d|\s(?:and|or|to|until)\s[A-Z]))"
_SHORTENED = "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
_SHORT = rf"(?P<short>\b(?:{_SHORTENED})\b(?=\.?\s\d)|(?<=\d\s)(?:{_SHORTENED})\b)"
_ISO = r"\b\d{4}-(?P<iso>0[1-9]|1[0-2])(?:-\d\d)?\b"
_CJK_MONTH = r"(?<![\d.一二三四五六七八九十])(?P<cjk_month>1[0-2]|0?[1-9]|十[一二]?|[一二三四五六七八九])\s?月(?!度)"
_DAY = rf"(?P<day>\b(?i:{'|'.join(_DAYS)})s?\b)|(?:周|星期|礼拜)(?P<cjk_day>[一二三四五六日天])(?![次天个小])"
_NAME = re.compile("|".join((_MONTH, _MAY, _SHORT, _ISO, _CJK_MONTH, _DAY)))
# Between two names of a range, days of the month allowed: "March 1 to May", "3月1日至5月".
_TO = re.compile(
    r"(?:\s?\d{1,2}(?:st|nd|rd|th|\s?[日号])?)?(?:\s?[-–—~～至到]\s?|\s(?:to|through|till|until)\s)(?:\d{1,2}(?:st|nd|rd|th)?\s)?"
)
# Names of several days at once.
_SEVERAL = (
    (re.compile(r"\b(?:weekdays?|(?:working|business)[\s-]days?|work\s?days?)\b|工作日", re.IGNORECASE), range(1, 6)),
    (re.compile(r"\bweekends?\b|周末", re.IGNORECASE), range(6, 8)),
    (re.compile(r"\b(?:every\s?day|daily|seven days a week)\b|每天|每日", re.IGNORECASE), range(1, 8)),
)


@lru_cache(maxsize=1024)  # pure; each sentence of an answer is held against the same passages
def dates(text: str) -> Dates:
    """The months and days a text names, those between the ends of a range with them."""
    found: set[str] = set()
    before: tuple[str, int, int] | None = None  # kind, number and end of the name before
    for kind, number, start, end in _named(text):
        found.add(f"{kind} {number}")
        if before is not None and before[0] == kind and _TO.fullmatch(text[before[2] : start]):
            found.update(f"{kind} {one}" for one in _between(before[1], number, 12 if kind == "month" else 7))
        before = kind, number, end
    for names, days in _SEVERAL:
        if names.search(text):
            found.update(f"day {day}" for day in days)
    return frozenset(found)


def names_other_dates(sentence: str, text: str) -> bool:
    """True if the sentence names a month or a day, and the text names some, but not that one."""
    wanted, given = dates(sentence), dates(text)
    return any(not _of(kind, wanted) <= given and bool(_of(kind, given)) for kind in ("month", "day"))


def _of(kind: str, found: Dates) -> Dates:
    return frozenset(one for one in found if one.startswith(kind))


def _between(first: int, last: int, size: int) -> Iterator[int]:
    """From the first to the last of `size` that begin again: November to February, Saturday to Monday."""
    return ((one - 1) % size + 1 for one in range(first, (last if last >= first else last + size) + 1))


def _named(text: str) -> Iterator[tuple[str, int, int, int]]:
    """Kind, number, start and end of each name."""
    for found in _NAME.finditer(text):
        yield *_read(found), found.start(), found.end()


def _read(found: re.Match[str]) -> tuple[str, int]:
    if found["day"]:
        return "day", _DAYS.index(found["day"].lower().removesuffix("s")) + 1
    if found["cjk_day"]:
        return "day", _CJK[found["cjk_day"]]
    if found["month"]:
        return "month", MONTHS.index(found["month"].lower()) + 1
    if found["may"]:
        return "month", 5
    if found["short"]:
        return "month", _SHORT_MONTHS.index(found["short"][:3].lower()) + 1
    written = found["iso"] or found["cjk_month"]
    return "month", _CJK[written] if written in _CJK else int(written)
