"""What a question is about, and how much of it a passage speaks of.

A term counts by how rare it is among the candidates the reader may see, less where it is a word of every conversation. A
passage that says it in other words holds it too, for a little less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from quarterdeck.core.answers import Passage
from quarterdeck.core.synonyms import Synonyms
from quarterdeck.core.text import content_terms, has_cjk, terms
from quarterdeck.knowledge.analyze import Vocabulary, question_terms, statements, stem, vocabulary
from quarterdeck.knowledge.common import COMMON

__all__ = ["NO_SYNONYMS", "Asked", "Topic", "asked", "widened"]

NO_SYNONYMS = Synonyms((), stem)
_OTHERWISE = 0.7  # what a term counts that a passage says in other words
_COMMON = 0.25  # and one of every conversation
_PHRASE = 0.5  # what each further word of a phrase adds to the first
_OVERLAP = 0.5  # of a bigram in bits of evidence: neighbours share a character, so they are no two findings

_STORY = 7  # words of a topic; a bigram is half of one

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A term of a question.

    Attributes:
        key: Its stems, or the Chinese word or bigram itself.
        others: Keys of what else says it.
    """

    key: Key
    others: tuple[Key, ...] = ()

    @property
    def name(self) -> str:
        return " ".join(self.key)

    @property
    def is_common(self) -> bool:
        """A word of every conversation, which no list of synonyms knows."""
        return not self.others and self.key[0] in COMMON

    @property
    def is_bigram(self) -> bool:
        return not self.others and has_cjk(self.key[0])


def asked(question: str, synonyms: Synonyms = NO_SYNONYMS) -> tuple[Asked, ...]:
    """The terms of a question: those that have synonyms, as whole words, then the rest of its topic."""
    found, rest = synonyms.read(question)
    meant = {_key(one.text): Asked(key=_key(one.text), others=tuple(map(_key, one.others))) for one in found}
    plain = [Asked(key=(term,)) for term in question_terms(rest)]
    # "IT?" is all stop words and still a question.
    return (*meant.values(), *plain) or tuple(Asked(key=(stem(term),)) for term in content_terms(question))


def widened(question: str, synonyms: Synonyms) -> str:
    """The question with all that says its terms in other words behind it; itself if nothing does."""
    found, _ = synonyms.read(question)
    return " ".join((question, *(other for one in found for other in one.others)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What a question is about, with the weights its terms have among the candidates.

    Attributes:
        having: How many of the candidates hold each term.
    """

    terms: tuple[Asked, ...]
    having: Mapping[str, int]
    candidates: int

    @classmethod
    def of(cls, question: str, candidates: Sequence[Passage], synonyms: Synonyms = NO_SYNONYMS) -> Topic:
        """From the candidates the reader may see, so that a weight tells nothing about others."""
        every = asked(question, synonyms)
        held = [_held(_whole(passage), every) for passage in candidates]
        having = {one.name: sum(share[place] > 0 for share in held) for place, one in enumerate(every)}
        return cls(terms=every, having=having, candidates=len(candidates))

    def share(self, passage: Passage) -> float:
        """How much of the topic the passage speaks of, 0 to 1."""
        whole = sum(map(self._weight, self.terms))
        return self._sum(_whole(passage), 1.0) / whole if whole else 0.0

    def together(self, passage: Passage) -> float:
        """How much of what it speaks of is said in one sentence and the headings above, 0 to 1."""
        spoken = self._sum(_whole(passage), 1.0)
        return max((self._sum(one, 1.0) for one in _sentences(passage)), default=0.0) / spoken if spoken else 0.0

    def told(self, passage: Passage) -> bool:
        """Whether it speaks of two terms that say something, or of all there are."""
        every = [one for one in self.terms if not one.is_common] or self.terms
        return sum(share > 0 for share in _held(_whole(passage), every)) >= min(2, len(every))

    @property
    def is_story(self) -> bool:
        """Whether so much is said that a passage cannot be asked to speak of most of it."""
        return sum(_OVERLAP if one.is_bigram else 1.0 for one in self.terms) >= _STORY

    def headed(self, passage: Passage) -> float:
        """How much of what it speaks of stands in its title or headings too, 0 to 1."""
        spoken = self._sum(_whole(passage), 1.0)
        return self._sum(_head(passage), 1.0) / spoken if spoken else 0.0

    def bits(self, passage: Passage, heading: float) -> float:
        """What the passage's hits weigh together, however much else was asked; one in a heading by `heading` more."""
        return self._sum(_whole(passage), _OVERLAP) + heading * self._sum(_head(passage), _OVERLAP)

    def rank(self, passages: Sequence[Passage], heading: float) -> list[Passage]:
        """Best first, equals in the order they come in."""
        return sorted(passages, key=lambda p: -self._sum(_whole(p), 1.0) - heading * self._sum(_head(p), 1.0))

    def _sum(self, words: Vocabulary, bigram: float) -> float:
        held = _held(words, self.terms)
        return sum(
            share * self._weight(one) * (bigram if one.is_bigram else 1.0)
            for share, one in zip(held, self.terms, strict=True)
            if share
        )

    def _weight(self, one: Asked) -> float:
        # A term that no candidate holds counts as if one did.
        rarity = math.log(1 + (self.candidates + 1) / max(self.having[one.name], 1))
        if one.is_bigram and not self.having[one.name]:
            return rarity * self._unexplained(one.name)
        return rarity * (_COMMON if one.is_common else 1 + _PHRASE * (len(one.key) - 1))

    def _unexplained(self, bigram: str) -> float:
        """The share of a bigram nobody holds that is in no neighbour somebody does: one across two words is none."""
        held = [one.name for one in self.terms if one.is_bigram and self.having[one.name]]
        left = any(name[-1] == bigram[0] for name in held)
        right = any(name[0] == bigram[-1] for name in held)
        return 1 - (left + right) / 2


def _held(words: Vocabulary, every: Sequence[Asked]) -> list[float]:
    return [1.0 if words.says(one.key) else _OTHERWISE if any(map(words.says, one.others)) else 0.0 for one in every]


def _key(phrase: str) -> Key:
    return (phrase.lower(),) if has_cjk(phrase) else tuple(map(stem, terms(phrase)))


def _whole(passage: Passage) -> Vocabulary:
    return vocabulary("\n".join((passage.title, *passage.heading_path, passage.text)))


def _sentences(passage: Passage) -> Iterator[Vocabulary]:
    head = "\n".join((passage.title, *passage.heading_path))
    # Not kept: the sentences of one search would drive out the passages of all.
    return (Vocabulary(f"{head}\n{passage.text[start:end]}") for start, end in statements(passage.text))


def _head(passage: Passage) -> Vocabulary:
    return vocabulary("\n".join((passage.title, *passage.heading_path)))
