"""The values in a text that could be arguments: ids, numbers, dates, addresses, quotations, names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from types import MappingProxyType
from typing import Any

from quarterdeck.core.text import has_cjk
from quarterdeck.models.simulation.language import stem

__all__ = ["Found", "Words", "shape_of"]


@dataclass(frozen=True, slots=True)
class Found:
    """A value and where it stands in its text."""

    value: Any
    start: int
    end: int


_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}", re.ASCII)
_URL = re.compile(r"https?://[^\s<>\"'，。）)]+", re.IGNORECASE)
_QUOTED = re.compile(
    r"\"([^\"\n]{1,300})\"|“([^”\n]{1,300})”|「([^」\n]{1,300})」|《([^》\n]{1,300})》|"
    r"(?<!\w)'([^'\n]{1,300})'(?!\w)|`([^`\n]{1,300})`"
)
_ID = re.compile(
    r"(?<![\w@./-])(?=[A-Za-z0-9_-]*\d)(?:[A-Za-z]{1,12}[-_#]?\d[\w-]{0,40}|\d[\d]*[-_]?[A-Za-z][\w-]{0,40}|"
    r"[A-Za-z]{2,12}(?:-[A-Za-z0-9]+)*-\d[\w-]*)(?![\w@])",
    re.ASCII,
)
_NUMBER = re.compile(
    r"(?<![\w.-])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?=(?P<unit>%|st\b|nd\b|rd\b|th\b|[kK]\b)|(?![\w-])|"
    r"[A-Za-z]{1,3}\b|[\u4e00-\u9fff])|(?<=[$€£¥])\d+(?:\.\d+)?"
)
_LONGEST_NUMBER = 40  # characters; nobody counts farther, and Python reads no integer of more than 4,300 digits
_TIME = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)(?::[0-5]\d)?\s*(am|pm)?\b|\b(1[0-2]|0?[1-9])\s*(am|pm)\b", re.IGNORECASE)
_MONTHS = MappingProxyType(
    {
        name: number
        for number, names in enumerate(
            "january jan,february feb,march mar,april apr,may,june jun,july jul,august aug,september sep "
            "sept,october oct,november nov,december dec".split(","),
            1,
        )
        for name in names.split()
    }
)
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATE = re.compile(
    rf"\b(?P<y1>\d{{4}})[-/.](?P<m1>\d{{1,2}})[-/.](?P<d1>\d{{1,2}})\b|"
    rf"\b(?P<n2>{_MONTH})\.?\s+(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<y2>\d{{4}}))?\b|"
    rf"\b(?P<d3>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<n3>{_MONTH})\b\.?(?:,?\s+(?P<y3>\d{{4}}))?|"
    rf"(?:(?P<y4>\d{{4}})年)?(?P<m4>\d{{1,2}})月(?P<d4>\d{{1,2}})[日号]|"
    rf"\b(?P<m5>\d{{1,2}})/(?P<d5>\d{{1,2}})/(?P<y5>\d{{4}})\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(
    r"\b(?:today|tomorrow|yesterday|tonight|(?:next|this|last) (?:week|month|year|monday|tuesday|wednesday|thursday|"
    r"friday|saturday|sunday)|"
    r"monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b|今天|明天|后天|昨天|今晚|下周[一二三四五六日天]?|"
    r"本周[一二三四五六日天]?|周[一二三四五六日]|下个月|本月|上个月",
    re.IGNORECASE,
)
_NUMBER_WORDS = MappingProxyType(
    {word: value for value, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())}
    | {"twenty": 20, "thirty": 30, "fifty": 50, "hundred": 100, "dozen": 12}
)
_NUMBER_WORD = re.compile(
    r"\b(?:" + "|".join(list(_NUMBER_WORDS)[2:]) + r"|one (?=day|hour|week|month|year|night|person|guest|ticket|room))\b",
    re.IGNORECASE,
)
_CHINESE_NUMBER = re.compile(
    r"([一两二三四五六七八九]?十[一二三四五六七八九]?|[一两二三四五六七八九])(?=[个天小人位次张间月年周份台件元块瓶晚])"
)
_CHINESE_DIGITS = MappingProxyType({char: value for value, char in enumerate("零一二三四五六七八九")} | {"两": 2})
# Capitalised words in a row, with the little words that stand between them and a state or country behind a comma.
_NAME = re.compile(
    r"\b[A-Z][\w'’&.-]*\w(?:\s+(?:(?:of|de|la|van|von|der|the|&)\s+)?[A-Z][\w'’&.-]*\w|"
    r"\s+[A-Z]\b)*(?:,\s(?:[A-Z]{2}\b|[A-Z][a-z]+(?=[\s.?!,]|$)))?|\b[A-Z]\b(?!')"
)
_NO_NAME = frozenset(
    "i i'm i'd i'll i've hi hello hey dear please can could would will the a an what when where who which why how is "
    "are do does did "
    "my our your and also then thanks open create show find get tell give send cancel book order list check search let help "
    "if for in on at to from it this that yes no ok okay today tomorrow monday tuesday wednesday thursday friday "
    "saturday sunday "
    "january february march april may june july august september october november december remind schedule transfer "
    "pay add remove "
    "delete update change convert translate calculate set make put file submit request need want play reset track "
    "order close mr mrs ms dr".split()
)


class Words:
    """A text and the values found in it, each kind looked for once, when it is first asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lower = text.lower()
        self.chinese = has_cjk(text)

    @cached_property
    def emails(self) -> list[Found]:
        return [Found(m.group(), m.start(), m.end()) for m in _EMAIL.finditer(self.text)] if "@" in self.text else []

    @cached_property
    def urls(self) -> list[Found]:
        return (
            [Found(m.group().rstrip(".,;:!?"), m.start(), m.end()) for m in _URL.finditer(self.text)]
            if "//" in self.text
            else []
        )

    @cached_property
    def quotes(self) -> list[Found]:
        return [Found(next(filter(None, m.groups())), m.start(), m.end()) for m in _QUOTED.finditer(self.text)]

    @cached_property
    def dates(self) -> list[Found]:
        """ISO dates, only where a year is given; one year counts for all."""
        matches = list(_DATE.finditer(self.text))
        year = next((m[key] for m in matches for key in ("y1", "y2", "y3", "y4", "y5") if m[key]), None)
        values = [(_date(match, year), match) for match in matches]
        return [Found(value, match.start(), match.end()) for value, match in values if value is not None]

    @cached_property
    def relative_dates(self) -> list[Found]:
        """Days named from today, and dates without a year, as written: the model knows no calendar."""
        spans = [Found(m.group(), m.start(), m.end()) for m in _RELATIVE.finditer(self.text)]
        spans += [Found(m.group(), m.start(), m.end()) for m in _DATE.finditer(self.text) if not self.dates]
        return sorted(spans, key=lambda found: found.start)

    @cached_property
    def times(self) -> list[Found]:
        return [Found(_time(m), m.start(), m.end()) for m in _TIME.finditer(self.text)]

    @cached_property
    def ids(self) -> list[Found]:
        """Words of letters and digits, such as T-1001 or INC0042; not units such as 5km, dates or addresses."""
        spans = self._spans(self.dates, self.times, self.emails, self.urls)
        return [
            Found(m.group(), m.start(), m.end())
            for m in _ID.finditer(self.text)
            if not _inside(m.start(), spans)
            and not re.fullmatch(r"\d+(?:st|nd|rd|th|am|pm|k|km|kg|m|h|s|cm|mm|gb|mb|usd|eur|d)", m.group().lower())
        ]

    @cached_property
    def numbers(self) -> list[Found]:
        """Plain numbers, in digits or words, outside dates, times, ids and addresses."""
        spans = self._spans(self.dates, self.times, self.ids, self.emails, self.urls)
        found = []
        for match in _NUMBER.finditer(self.text):
            if not _inside(match.start(), spans) and len(match.group()) <= _LONGEST_NUMBER:
                digits = match.group().replace(",", "")
                value = float(digits) if "." in digits else int(digits)
                found.append(Found(value * 1000 if match.group("unit") in ("k", "K") else value, match.start(), match.end()))
        found += (
            Found(_NUMBER_WORDS[m.group().strip().lower()], m.start(), m.end()) for m in _NUMBER_WORD.finditer(self.text)
        )
        if self.chinese:
            found += (Found(_chinese_number(m[1]), m.start(), m.end()) for m in _CHINESE_NUMBER.finditer(self.text))
        return sorted(found, key=lambda item: item.start)

    @cached_property
    def names(self) -> list[Found]:
        """Capitalised names, without the word a sentence begins with unless it is more than that."""
        found = []
        for match in _NAME.finditer(self.text):
            start, value = match.start(), match.group()
            while value and value.split()[0].lower().rstrip(".,") in _NO_NAME:
                cut = len(value.split()[0])
                rest = value[cut:].lstrip(" ,")
                start += len(value) - len(rest)
                value = rest
            if value and (start > 0 or " " in value or not value.islower()):
                found.append(Found(value, start, start + len(value)))
        return found

    def before(self, found: Found, words: int = 3) -> list[str]:
        """Stems of the words just before a value, nearest first."""
        return [
            stem(word) for word in re.findall(r"[a-z]+", self.lower[max(0, found.start - 40) : found.start])[::-1][:words]
        ]

    def after(self, found: Found, words: int = 1) -> list[str]:
        """Stems of the words just behind a value."""
        return [stem(word) for word in re.findall(r"[a-z]+", self.lower[found.end : found.end + 24])[:words]]

    @staticmethod
    def _spans(*kinds: Iterable[Found]) -> list[tuple[int, int]]:
        return [(item.start, item.end) for kind in kinds for item in kind]


def shape_of(value: str) -> tuple[str, str]:
    """What ids of one kind share: the letters in front and the sign between them and the digits."""
    match = re.match(r"([A-Za-z]*)([-_#]?)", value)
    assert match is not None
    return match.group(1).upper(), match.group(2)


def _inside(position: int, spans: Iterable[tuple[int, int]]) -> bool:
    return any(start <= position < end for start, end in spans)


def _date(match: re.Match[str], year: str | None) -> str | None:
    groups = {key[0]: value for key, value in match.groupdict().items() if value is not None}
    month = groups.get("m") or _MONTHS[groups["n"].lower()]
    year = groups.get("y", year)
    if year is None:
        return None
    try:
        return date(int(year), int(month), int(groups["d"])).isoformat()
    except ValueError:
        return None


def _time(match: re.Match[str]) -> str:
    hour, minute = int(match.group(1) or match.group(4)), int(match.group(2) or 0)
    half = (match.group(3) or match.group(5) or "").lower()
    hour = hour % 12 + 12 if half == "pm" else 0 if half == "am" and hour == 12 else hour
    return f"{hour:02d}:{minute:02d}"


def _chinese_number(text: str) -> int:
    if "十" not in text:
        return _CHINESE_DIGITS[text]
    tens, _, ones = text.partition("十")
    return _CHINESE_DIGITS.get(tens, 1) * 10 + _CHINESE_DIGITS.get(ones, 0)
