"""Which way a number bounds: "at most 30 days" and "at least 30 days" name the same number and say the opposite.

So do "before 31 March" and "after 31 March". English and Chinese. What is not said to be a bound agrees with either: "30
days" of "up to 30 days" is short, and not wrong; and what is kept for up to 30 days may be deleted after 30 days.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum
from functools import lru_cache

from quarterdeck.knowledge.calendar_names import MONTHS
from quarterdeck.knowledge.quantities import Quantity, placed, stands_in, without_articles

__all__ = ["Bound", "bounded", "bounds_otherwise"]


class Bound(Enum):
    """Which side of a number is meant."""

    MOST = "most"
    LEAST = "least"
    BEFORE = "before"
    AFTER = "after"


_OPPOSITES = {
    Bound.MOST: {Bound.LEAST},
    Bound.LEAST: {Bound.MOST, Bound.BEFORE},
    Bound.BEFORE: {Bound.LEAST, Bound.AFTER},
    Bound.AFTER: {Bound.BEFORE},
}


_NOT = r"\b(?:no|not|never|n['’]t|nor)\s+(?:be\s+)?"
_MORE = r"(?:more|longer|later|larger|higher|greater|older|heavier)\s+than|over|above|exceed(?:s|ed|ing)?|beyond"
_FEWER = r"(?:less|fewer|shorter|sooner|earlier|smaller|lower|younger|lighter)\s+than|under|below"
# Before the number; the last one counts, and "not more than" is read before "more than".
_BEFORE = re.compile(
    rf"(?P<most>{_NOT}(?:{_MORE})\b|\bat\s+(?:the\s+)?(?:most|latest)\b|\bup\s+to\b|\bmax(?:imum|imal|\.|\b)|\bwithin\b"
    rf"|\b(?:{_FEWER})\b|最[多高晚迟大长]|至多|[不未](?:得|能|可|应|会|要)?(?:超过|多于|高于|大于|晚于|迟于)|上限"
    r"|(?<![不未得能可应])(?:少于|低于|小于|不足|不到|未满|早于))"
    rf"|(?P<least>{_NOT}(?:{_FEWER})\b|\bat\s+(?:the\s+)?(?:least|earliest)\b|\bmin(?:imum|imal|\.|\b)"
    rf"|\b(?:{_MORE})\b|最[少低早小短]|至少|[不未](?:得|能|可|应|会|要)?(?:少于|低于|小于|早于)|下限"
    r"|(?<![不未得能可应])(?:超过|多于|高于|大于|晚于|超出))"
    # Just before the number, a month between at most: "after the trip 3 days are left" bounds nothing.
    r"|(?P<before>\b(?:before|prior\s+to)(?=\s+(?:[a-z]+\s+)?\Z))|(?P<after>\bafter(?=\s+(?:[a-z]+\s+)?\Z))"
    r"|(?P<before_date>\b(?:by|until|till)(?=\s+(?:the\s+)?\Z))",
    re.IGNORECASE,
)
# Behind the number of a date or a time of the day. Only these bound with "by": "reduced by 20 %" does not.
_DATE = re.compile(rf"(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{'|'.join(MONTHS)})\b|(?:st|nd|rd|th)\b|:\d\d", re.IGNORECASE)
# Behind the number and its unit.
_BEHIND = re.compile(
    r"\s*(?:\w+\s+){0,2}?(?:"
    r"(?P<most>or\s+(?:less|fewer|below|under|earlier|shorter)\b|at\s+(?:the\s+)?(?:most|latest)\b|maximum\b)"
    r"|(?P<least>or\s+(?:more|longer|above|over|later|older|higher)\b|and\s+(?:more|above|over)\b|at\s+(?:the\s+)?(?:least|earliest)\b"
    r"|minimum\b))"
    r"|\s*[个号]?(?:(?P<most_cjk>(?:以|之)?[内下](?!午))|(?P<least_cjk>(?:以|之)上|及以上|起)"
    r"|(?P<before>之前|以前)|(?P<after>之后|以后|过后))",
    re.IGNORECASE,
)
_REACH = 40  # characters before a number in which its bound is looked for
_OTHER = re.compile(r"[\d,;:.!?，。；：、！？()（）\n]")  # of what is before these, another number is meant


@lru_cache(maxsize=1024)  # pure; each sentence of an answer is held against the same passages
def bounded(text: str) -> tuple[tuple[Quantity, Bound | None], ...]:
    """Each number of the text, and which side of it is meant; None where it is the number itself."""
    return tuple((quantity, _bound(quantity, before, behind)) for quantity, before, behind in placed(text))


def bounds_otherwise(sentence: str, text: str) -> bool:
    """True if a number is a bound in the sentence, and the text knows it only as a bound of the other kind."""
    given = bounded(text)
    return any(
        bound is not None and _opposed(bound, [side for other, side in given if stands_in(quantity, [other])])
        for quantity, bound in bounded(without_articles(sentence))
    )


def _opposed(bound: Bound, sides: Collection[Bound | None]) -> bool:
    return bool(sides) and all(side in _OPPOSITES[bound] for side in sides)


def _bound(quantity: Quantity, before: str, behind: str) -> Bound | None:
    near = before[-_REACH:]
    clause = near[max((found.end() for found in _OTHER.finditer(near)), default=0) :]
    dated = quantity.unit in ("am", "pm") or _DATE.match(behind)
    named = [one for one in _BEFORE.finditer(clause) if dated or not one["before_date"]]
    found = named[-1] if named else _BEHIND.match(behind)
    if found is None:
        return None
    return Bound(next(name for name, words in found.groupdict().items() if words).partition("_")[0])
