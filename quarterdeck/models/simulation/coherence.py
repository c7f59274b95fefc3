"""Whether a text speaks of the very thing a question asks for, or only shares words with it.

"How do I order business cards?" asks for business cards. A text with "business class" in one sentence and a "discount card"
in the next has both words and not the thing; one on "printing cards" has half of it; one on business trips has nothing of
it, since the last word of an English noun phrase says what the thing is and those before it which kind. And a question for
how many there are of a thing is answered by a number of that thing, and not of another. English; in Chinese, which writes no
words apart, `extract` asks for runs of characters, and these hang together by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

from quarterdeck.core.text import has_cjk, sentences
from quarterdeck.models.simulation.language import stem

__all__ = ["AskedFor"]

_HALF_THERE = 0.7  # what is left of the evidence where words of the thing are there, and not together
_NOT_THERE = 0.5  # and where its last word is not
_NEAR = 4  # words that two of one thing may lie apart, in either order: "health of the battery"

_WORD = re.compile(r"[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+|[,;:.!?()]")
# What stands before the thing a question asks for. "Which" and "what" without a verb ask for a kind of answer instead.
_BEFORE = re.compile(
    r"\b(?:what|who|where)(?:'s| is| are| was| were) (?:the (?!(?:\w+ )?way\b)|an? |my |our )"
    r"|\b(?:is|are|was|were) there (?:an? |any |the )"
    r"|(?:\A|\b(?:how|when|where|and) |[,;.?!] )(?:can|could|may|do|does|should|must|to)(?: \w+)? "
    r"(?:get|order|book|offer|renew|become|find|request|need) (?:an? |any |the |my |our )?",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(r"\bhow many ", re.IGNORECASE)
_TIMES = frozenset(map(stem, "minute hour day week month quarter year".split()))
_NUMBER = re.compile(
    r"\d|(?:no|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|twenty"
    r"|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|several|unlimited)\Z"
)


class AskedFor:
    """The things a question asks for by name, and how far a text speaks of them."""

    def __init__(self, question: str, terms: Collection[str]) -> None:
        """
        Args:
            terms: Those of the question that count, as stems.
        """
        english = not has_cjk(question)
        self._things = tuple(_phrases(_BEFORE, question, terms)) if english else ()
        self._counted = tuple(thing[-1] for thing in _phrases(_HOW_MANY, question, terms)) if english else ()

    def share(self, text: str, otherwise: Collection[str] = ()) -> float:
        """What is left, 0 to 1, of all that speaks for the text as an answer.

        Args:
            otherwise: Terms it says in other words.
        """
        if not self._things and not self._counted:
            return 1.0
        said = [_words(text[start:end]) for start, end in sentences(text)]
        left = [_spoken_of(thing, said, otherwise) for thing in self._things]
        left += [_NOT_THERE for one in self._counted if not _is_counted(one, said) and one not in otherwise]
        return min(left, default=1.0)


def _phrases(before: re.Pattern[str], question: str, terms: Collection[str]) -> Iterator[tuple[str, ...]]:
    """The words that count right behind each place the pattern finds."""
    for found in before.finditer(question):
        phrase: list[str] = []
        for word in _WORD.findall(question[found.end() :].lower()):
            if (term := stem(word)) not in terms or word.endswith("ly") or _NUMBER.match(word):
                break
            phrase.append(term)
        if phrase:
            yield tuple(phrase)


def _words(text: str) -> list[str]:
    """Its words as stems, those for numbers as they are written."""
    return [word if _NUMBER.match(word) else stem(word) for word in _WORD.findall(text.lower())]


def _spoken_of(thing: Sequence[str], said: Sequence[Sequence[str]], otherwise: Collection[str]) -> float:
    every = {word for sentence in said for word in sentence}
    if thing[-1] not in every and thing[-1] not in otherwise:
        return _NOT_THERE
    return 1.0 if all(_together(one, other, said, otherwise) for one, other in pairwise(thing)) else _HALF_THERE


def _together(one: str, other: str, said: Sequence[Sequence[str]], otherwise: Collection[str]) -> bool:
    if one in otherwise or other in otherwise:
        return True
    for sentence in said:
        places: Mapping[str, list[int]] = {
            term: [place for place, word in enumerate(sentence) if word == term] for term in (one, other)
        }
        if any(abs(here - there) <= _NEAR for here in places[one] for there in places[other]):
            return True
    return False


def _is_counted(one: str, said: Sequence[Sequence[str]]) -> bool:
    """Whether a number stands before it, or before another measure of time where it is one, in reach and in the sentence."""
    names = _TIMES if one in _TIMES else {one}
    return any(
        word in names and any(_NUMBER.match(before) for before in sentence[max(0, place - _NEAR) : place])
        for sentence in said
        for place, word in enumerate(sentence)
    )
