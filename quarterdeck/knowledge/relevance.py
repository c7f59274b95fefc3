"""Which candidates are about the question at all. What is not is left out, however good the rest is or is not.

There are three kinds of evidence, and one of them may be enough. The share of the question's topic that a passage speaks of,
rare terms counting more and words of one sentence more than words apart, finds the answer to a short question. What the
terms it speaks of weigh together, those in its headings more, finds the answer to a long one, of which most is a story.
Meaning, how far its cosine stands out from those of unrelated texts, finds the passage that says the same in other words.
Where meaning does not stand out at all, words that are shared are more likely a coincidence ("is there a company
kindergarten?" and a company account), and count less: a passage that holds the whole question, such as an error code,
stays. How much less, and whether words and meaning are added up, is a matter of the vectors' model. All rest on the
candidates the reader may see and on the question, and on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from quarterdeck.core.answers import Passage
from quarterdeck.knowledge.calibration import Meaning
from quarterdeck.knowledge.topic import Topic
from quarterdeck.knowledge.unrelated import Unrelated

__all__ = ["BESIDE", "HEADING", "LEAST", "Evidence"]

# The least evidence the best passage must have, else nothing here speaks of the question. Whether a passage with little more
# answers it is for its reader to say. What it keeps and refuses stands in docs/explanation/retrieval-quality.md.
LEAST = 0.2
BESIDE = 0.4  # the least share, relative to the best passage's, that another one must reach to stand beside it
_HEADED = 0.2  # what a passage gains whose headings speak of all it says of the question
_APART = 0.5  # what a passage loses that says nothing of it in one sentence: words far apart are a coincidence
_LITTLE = 0.176  # less is no evidence, together or apart
HEADING = 1.5  # what a hit in a heading weighs more
_LONELY = 0.8  # what is left of a share that rests on a single term, which may have another meaning
_FULL_BITS = 14.0  # hits that weigh so much are full evidence: natural logarithms of how rare each is, added up


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for a passage, 0 to 1 each."""

    words: float
    whole: float

    @classmethod
    def of(
        cls, passage: Passage, topic: Topic, cosine: float | None, unrelated: Unrelated | None, meaning: Meaning
    ) -> Evidence:
        """
        Args:
            cosine: Of question and passage, None where that is not known.
            unrelated: What it is measured against; None where meaning was not asked, so that words are all there is.
        """
        words = _by_words(passage, topic)
        if unrelated is None:
            return cls(words=words, whole=words)
        return cls(words=words, whole=meaning.whole(words, None if cosine is None else unrelated.apart(cosine)))


def _by_words(passage: Passage, topic: Topic) -> float:
    share = topic.share(passage) * (1 + _HEADED * topic.headed(passage))
    if share >= _LITTLE:
        share *= 1 - _APART * (1 - topic.together(passage))
    if not topic.told(passage):
        return min(_LONELY * share, 1.0)
    whole = topic.bits(passage, HEADING) / _FULL_BITS if topic.is_story else 0.0
    return min(max(share, whole), 1.0)
