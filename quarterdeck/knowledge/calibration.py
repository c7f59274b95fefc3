"""What goes with a model of vectors: how texts are put to it, and what its nearness is worth as evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["STRONGER", "Added", "Calibration", "Meaning", "Stronger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stronger:
    """Words or meaning, whichever says more; words count half where meaning does not stand out at all.

    In standard deviations above the mean of unrelated texts. Calibrated with MiniLM on the English desk and questions that
    say the same in other words: of those 11 in 21 are answered and 2 without vectors; of 36 that nothing answers 3 are given
    something and 5 without; of 80 about other things than the 1,400 abstracts of Cranfield 4, and 23 without.

    Attributes:
        full: Meaning is full evidence.
        chance: Less is what unrelated texts have by chance.
    """

    full: float = 11.9
    chance: float = 1.96

    def whole(self, words: float, apart: float | None) -> float:
        """The evidence for a passage, 0 to 1.

        Args:
            words: What its words say, 0 to 1.
            apart: Standard deviations of its cosine above unrelated texts; None where it is none of the nearest.
        """
        if apart is None:
            return words
        return max(words / 2 if apart < self.chance else words, min(max(apart / self.full, 0.0), 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """Words and meaning together, for a model whose nearness orders well and tells apart what has no answer.

    Attributes:
        deviation: What a standard deviation above unrelated texts is worth, beside 1 for all of the question in words.
        share: What of the sum counts, so that it is measured as words alone are.
    """

    deviation: float
    share: float

    def whole(self, words: float, apart: float | None) -> float:
        """As `Stronger.whole`. What is none of the nearest stands out no more than chance has it."""
        return min(max(self.share * (words + self.deviation * (apart or 0.0)), 0.0), 1.0)


Meaning: TypeAlias = "Stronger | Added"
STRONGER = Stronger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What goes with one model.

    Attributes:
        question, passage: What is put before a text that asks, and before one that may answer. Vectors made with others are
            others: the model's id changes with them.
        meaning: What its cosines are worth.
        whole_questions: Whether a search is better asked with the question as it stands than with its words.
    """

    question: str = ""
    passage: str = ""
    meaning: Meaning = STRONGER
    whole_questions: bool = False
