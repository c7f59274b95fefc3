"""What a number counts: "12 hours and 5 devices" and "5 hours and 12 devices" hold the same numbers and words.

English and Chinese. What stands right behind a number is taken to be counted by it, its unit where it has one. Two texts
disagree only where both say what they count: the one counts a thing with a number with which the other counts another
thing, and counts this one otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from quarterdeck.core.text import has_cjk
from quarterdeck.knowledge.analyze import topic_terms
from quarterdeck.knowledge.quantities import Quantity, placed, without_articles

__all__ = ["counts_otherwise"]

_MOST_WORDS = 3  # "40 small wooden chairs"
_WORDS = re.compile(r"[\s-]+([A-Za-z]+)")
# A measure word says what is counted, but for the one that goes with everything.
_CJK = re.compile(r"\s?(?:个\s?([\u4e00-\u9fff]{2})|([\u4e00-\u9fff]))")

Counted = tuple[tuple[str, frozenset[str]], ...]


def counts_otherwise(sentence: str, text: str) -> bool:
    """True if a number of the sentence counts what the text counts with others, and there counts something else."""
    given = counted(text)
    return any(_elsewhere(number, things, given) for number, things in counted(without_articles(sentence)) if things)


@lru_cache(maxsize=1024)  # pure; each sentence of an answer is held against the same passages
def counted(text: str) -> Counted:
    """Each number of the text with stems of what it counts, or its unit; without any where that is not said."""
    return tuple((quantity.number, frozenset(_things(quantity, behind))) for quantity, _, behind in placed(text))


def _elsewhere(number: str, things: frozenset[str], given: Counted) -> bool:
    numbers = {other for other, what in given if what & things}
    same = [what for other, what in given if other == number]
    return bool(numbers) and number not in numbers and bool(same) and all(same)


def _things(quantity: Quantity, behind: str) -> Iterator[str]:
    if quantity.unit:
        yield quantity.unit
    elif has_cjk(behind[:4]):
        if found := _CJK.match(behind):
            yield found[1] or found[2]
    else:
        end = 0
        for _ in range(_MOST_WORDS):
            found = _WORDS.match(behind, end)
            own = topic_terms(found[1]) if found else None
            if not found or not own:
                return
            yield from own
            end = found.end()
