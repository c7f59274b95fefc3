"""Numbers of a text with their signs and units, in English and Chinese: what two texts must agree on to say the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from quarterdeck.core.text import has_cjk

__all__ = ["Quantity", "placed", "quantities", "stands_in", "without_articles"]


class Quantity(NamedTuple):
    """A number in one spelling, its sign, and its unit; empty where none that is known stands beside it."""

    number: str
    is_negative: bool = False
    unit: str = ""


_THOUSANDS = re.compile(r",(?=\d{3}(?:\D|\Z))")
_WORD_VALUES = {
    word: value
    for words, values in (
        ("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen", range(1, 16)),
        ("sixteen seventeen eighteen nineteen", range(16, 20)),
        ("twenty thirty forty fifty sixty seventy eighty ninety hundred", range(20, 101, 10)),
        ("thousand million", (10**3, 10**6)),
    )
    for word, value in zip(words.split(), values, strict=True)
}
_UNIT = "one|two|three|four|five|six|seven|eight|nine"
_TEEN = "ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
_SMALL = rf"(?:(?:{_TENS})(?:[-\s](?:{_UNIT}))?|{_TEEN}|{_UNIT})"
_BELOW_1000 = rf"{_SMALL}(?:\shundred(?:\s(?:and\s)?{_SMALL})?)?"
_WORD_NUMBER = re.compile(rf"\b{_BELOW_1000}(?:\s(?:thousand|million)(?:\s{_BELOW_1000})?)*\b", re.IGNORECASE)
_OTHER_DIGIT = re.compile(r"[^\W0-9a-zA-Z_]")
_CJK_NUMBER = re.compile(
    "百分之([一二两三四五六七八九十百零]+)"
    "|([一二两三四五六七八九十百千万亿零]+)(?=个?[天日年月周次元小分秒度工名位条项份倍楼层欧美块岁人台点号])"
)
_LARGE = re.compile(
    r"(?<![0-9A-Za-z_.,])(\d+(?:,\d{3})*(?:[.,]\d+)?)(?:\s?([万亿])|[\s-](thousand|million|billion)\b)", re.IGNORECASE
)
_CJK_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"两": 2}
_CJK_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}
_LARGE_VALUES = _CJK_UNITS | {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_NO_COUNT = re.compile(r"\bone\b|一(?=[个次位名点])", re.IGNORECASE)  # "choose one", "一个": articles, as a rule


# Units by their spellings. Symbols of up to three letters are read as they are written: 5 MB are not 5 mb, and 5 m no 5 M.
_WORD_UNITS = {
    "second": "seconds? secs? 秒钟 秒",
    "minute": "minutes? mins? 分钟",
    "hour": "hours? hrs? 小时 钟头",
    "day": "days? 工作日 自然日 日历日 天 日",
    "week": "weeks? 星期 周",
    "month": "months? 个月",
    "year": "years? 年",
    "%": "percent 百分点",
    "EUR": "euros? 欧元",
    "USD": "dollars? 美元",
    "GBP": "pounds? 英镑",
    "CHF": "francs? 瑞士法郎",
    "CNY": "yuan renminbi 人民币 元",
    "byte": "bytes? 字节",
    "metre": "met(?:re|er)s? 米",
    "kilometre": "kilomet(?:re|er)s? 公里 千米",
    "centimetre": "centimet(?:re|er)s? 厘米",
    "millimetre": "millimet(?:re|er)s? 毫米",
    "mile": "miles? 英里",
    "inch": "inch(?:es)? 英寸 寸",
    "gram": "grams? 克",
    "kilogram": "kilograms? kilos? 公斤 千克",
    "watt": "watts? 瓦",
    "degree": "degrees? 度",
}
_SYMBOLS = {
    "s": "second", "min": "minute", "h": "hour", "m": "metre", "km": "kilometre", "cm": "centimetre", "mm": "millimetre",
    "g": "gram", "kg": "kilogram", "W": "watt", "kW": "kilowatt", "%": "%", "％": "%", "€": "EUR", "EUR": "EUR", "$": "USD",
    "USD": "USD", "£": "GBP", "GBP": "GBP", "CHF": "CHF", "¥": "CNY", "CNY": "CNY", "RMB": "CNY", "kB": "kilobyte",
    "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "Mbit/s": "Mbit/s", "Mbps": "Mbit/s",
    "Gbit/s": "Gbit/s", "Gbps": "Gbit/s", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz",
    "am": "am", "a.m.": "am", "AM": "am", "A.M.": "am", "pm": "pm", "p.m.": "pm", "PM": "pm", "P.M.": "pm",
    "°C": "celsius", "℃": "celsius", "°F": "fahrenheit", "°": "degree",
}  # fmt: skip
_SPELLED = [(re.compile(spelling, re.IGNORECASE), unit) for unit, all_ in _WORD_UNITS.items() for spelling in all_.split()]
_LONGEST_FIRST = sorted(_SYMBOLS, key=len, reverse=True)
_SYMBOL = "|".join(map(re.escape, _LONGEST_FIRST))
_WORD = "|".join(f"(?i:{spelling})" for all_ in _WORD_UNITS.values() for spelling in all_.split() if spelling.isascii())
_CJK_WORD = "|".join(
    sorted((word for all_ in _WORD_UNITS.values() for word in all_.split() if not word.isascii()), key=len, reverse=True)
)
_QUANTITY = re.compile(
    r"(?P<minus>(?<![\w.)\]%])[-\u2212\u2013](?=[$€£¥\d])|\b(?i:minus|negative)\s|零下\s?|负)?"
    r"(?P<before>[$€£¥]\s?|\b(?:EUR|USD|GBP|CHF|CNY)\s)?"
    r"(?<![0-9A-Za-z_.])(?P<number>\d+(?:[.,]\d+)*)"
    # "5 days", "5-inch", "5 working days", "5 个工作日"
    rf"(?:(?P<symbol>\s?(?:{_SYMBOL})(?![A-Za-z0-9]))|\s?个?(?P<cjk>{_CJK_WORD})"
    rf"|(?P<word>[\s-](?:[A-Za-z]+\s)?(?:{_WORD})(?![A-Za-z0-9])(?P<below>\s(?i:below\szero)\b)?))?",
)


@lru_cache(maxsize=1024)  # pure; each sentence of an answer is held against the same passages
def quantities(text: str) -> frozenset[Quantity]:
    """The numbers of `text` in one spelling each: no thousands commas, no closing zeros, words and characters as digits."""
    return frozenset(quantity for quantity, _, _ in placed(text))


def placed(text: str) -> Iterator[tuple[Quantity, str, str]]:
    """The numbers of `text` one after the other, each with what stands before it and behind it."""
    text = _WORD_NUMBER.sub(lambda found: str(_word_value(found[0])), text)
    if not text.isascii():
        text = _OTHER_DIGIT.sub(_as_digit, text)
    text = _LARGE.sub(_written_out, text)
    if has_cjk(text):
        text = _CJK_NUMBER.sub(lambda found: f"{_cjk_value(found[1])}%" if found[1] else f" {_cjk_value(found[2])}", text)
    for found in _QUANTITY.finditer(text):
        yield _read(found), text[: found.start()], text[found.end() :]


def stands_in(wanted: Quantity, given: Collection[Quantity]) -> bool:
    """True if one of the given is the same number with the same sign, and not with another unit."""
    return any(
        wanted.number == one.number and wanted.is_negative == one.is_negative and _agree(wanted.unit, one.unit)
        for one in given
    )


def without_articles(text: str) -> str:
    """The text without the words for one that hardly ever count: "choose one", "一个"."""
    return _NO_COUNT.sub("", text)


def _agree(one: str, other: str) -> bool:
    """A unit that is not said, or not known, agrees with all; a degree with those of either scale."""
    if one == other or not one or not other:
        return True
    return "degree" in (one, other) and {one, other} <= {"degree", "celsius", "fahrenheit"}


def _read(found: re.Match[str]) -> Quantity:
    return Quantity(
        number=_plain(_THOUSANDS.sub("", found["number"])),
        is_negative=bool(found["minus"] or found["below"]),
        unit=_unit(found),
    )


def _unit(found: re.Match[str]) -> str:
    symbol = (found["symbol"] or found["before"] or "").strip()
    if symbol:
        return _SYMBOLS[symbol]
    word = (found["cjk"] or found["word"] or "").removesuffix(found["below"] or "").strip(" -").rpartition(" ")[2]
    return next((unit for spelling, unit in _SPELLED if spelling.fullmatch(word)), "")


def _as_digit(found: re.Match[str]) -> str:
    """A digit of another script, such as a full-width one, as ours; anything else as it is."""
    return str(unicodedata.decimal(found[0], found[0]))


def _written_out(found: re.Match[str]) -> str:
    return f"{Decimal(_plain(_THOUSANDS.sub('', found[1]))) * _LARGE_VALUES[(found[2] or found[3]).lower()]:f}"


def _plain(number: str) -> str:
    whole, dot, part = number.replace(",", ".").rpartition(".")
    if not dot:
        return number.lstrip("0") or "0"
    return f"{whole}.{part.rstrip('0')}".rstrip(".")


def _word_value(words: str) -> int:
    return _value(_WORD_VALUES[word] for word in re.split(r"[-\s]+", words.lower()) if word in _WORD_VALUES)


def _cjk_value(run: str) -> int:
    return _value(_CJK_DIGITS[each] if each in _CJK_DIGITS else _CJK_UNITS[each] for each in run)


def _value(parts: Iterable[int]) -> int:
    """The number whose words are `parts`: a ten of Chinese and whatever is a hundred or more multiply what came before."""
    total = section = digit = 0
    for part in parts:
        if part >= 10**4 or (part == 10**3 and section):
            total += (section + digit or 1) * part
            section = digit = 0
        elif part in (100, 1000) or part == 10:
            section += (digit or 1) * part
            digit = 0
        else:
            digit += part
    return total + section + digit
