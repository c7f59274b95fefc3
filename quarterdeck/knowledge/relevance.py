"""Which candidates are about the question at all. What is not is left out, however good the rest is or is not.

There are two kinds of evidence, and one of them is enough. Words: the share of the question's topic that a passage speaks
of, rare terms counting more. Meaning: how far its cosine stands out from those of unrelated texts, which finds the passage
that says the same in other words. Where meaning does not stand out at all, words that are shared are more likely a
coincidence ("is there a company kindergarten?" and a company account), and count half: a passage that holds the whole
question, such as an error code, stays. Both rest on the candidates the reader may see and on the question, and on nothing
else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quarterdeck.core.answers import Passage
from quarterdeck.core.text import content_terms
from quarterdeck.knowledge.analyze import question_terms, stem, vocabulary
from quarterdeck.knowledge.unrelated import Unrelated

__all__ = ["ANSWERS", "BESIDE", "Evidence", "Topic"]

# The least evidence the best passage must have, else there is no answer here. By words, on CMRC 2018, that keeps something
# for 97 % of the questions, and gives nothing to 79 % of them once their paragraph is taken away; on the invented support
# desks of tests/unit/knowledge/desks.py it loses no answer.
ANSWERS = 0.4
BESIDE = 0.4  # the least share, relative to the best passage's, that another one must reach to stand beside it
# In standard deviations above the mean of unrelated texts. Calibrated with MiniLM on the English desk and questions that say
# the same in other words: of those 11 in 21 are answered and 2 without vectors; of 36 that nothing answers 3 are given
# something and 5 without; of 80 about other things than the 1,400 abstracts of Cranfield 4, and 23 without.
_FULL = 14.0  # meaning is full evidence
_CHANCE = 1.96  # less is what unrelated texts have by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What a question is about, with the weights its terms have among the candidates.

    Attributes:
        terms: Stems and bigrams, in order.
        having: How many of the candidates hold each.
    """

    terms: tuple[str, ...]
    having: Mapping[str, int]
    candidates: int

    @classmethod
    def of(cls, question: str, candidates: Sequence[Passage]) -> Topic:
        """From the candidates the reader may see, so that a weight tells nothing about others."""
        # "IT?" is all stop words and still a question.
        terms = tuple(question_terms(question) or [stem(term) for term in content_terms(question)])
        held = [_held(passage, terms) for passage in candidates]
        return cls(
            terms=terms, having={term: sum(term in one for one in held) for term in terms}, candidates=len(candidates)
        )

    def share(self, passage: Passage) -> float:
        """How much of the topic the passage speaks of, 0 to 1."""
        whole = sum(map(self._rarity, self.terms))
        return sum(map(self._rarity, _held(passage, self.terms))) / whole if whole else 0.0

    def _rarity(self, term: str) -> float:
        # A term that no candidate holds counts as if one did.
        return math.log(1 + (self.candidates + 1) / max(self.having[term], 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for a passage, 0 to 1 each."""

    words: float
    meaning: float = 0.0
    chance: bool = False  # meaning was looked at and does not stand out

    @property
    def whole(self) -> float:
        """The stronger of the two."""
        return max(self.words / 2 if self.chance else self.words, self.meaning)

    @classmethod
    def of(cls, passage: Passage, topic: Topic, cosine: float | None, unrelated: Unrelated | None) -> Evidence:
        """
        Args:
            cosine: Of question and passage, None where that is not known.
        """
        if cosine is None or unrelated is None:
            return cls(words=topic.share(passage))
        apart = unrelated.apart(cosine)
        return cls(words=topic.share(passage), meaning=min(max(apart / _FULL, 0.0), 1.0), chance=apart < _CHANCE)


def _held(passage: Passage, terms: Sequence[str]) -> list[str]:
    words = vocabulary("\n".join((passage.title, *passage.heading_path, passage.text)))
    return [term for term in terms if term in words]
