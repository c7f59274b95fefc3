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
Held = tuple[float, ...]  # by the terms of a topic, in their order


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
        weights: Of the terms, in their order.
        in_bits: The same where hits are added up as bits of evidence, in which a bigram is none of its own.
    """

    terms: tuple[Asked, ...]
    having: Mapping[str, int]
    candidates: int
    weights: tuple[float, ...]
    in_bits: tuple[float, ...]
    _spoken: Mapping[str, Spoken]  # by the passage's id

    @classmethod
    def of(
        cls,
        question: str,
        candidates: Sequence[Passage],
        synonyms: Synonyms = NO_SYNONYMS,
        *,
        beside: Sequence[Passage] = (),
    ) -> Topic:
        """From the candidates the reader may see, so that a weight tells nothing about others.

        Args:
            beside: Passages that will be asked about too; they have no part in the weights.
        """
        every = asked(question, synonyms)
        spoken = {passage.id: Spoken.of(passage, every) for passage in (*beside, *candidates)}
        held = [spoken[passage.id].whole for passage in candidates]
        having = {one.name: sum(shares[place] > 0 for shares in held) for place, one in enumerate(every)}
        weights = tuple(_weight(one, every, having, len(candidates)) for one in every)
        in_bits = tuple(weight * (_OVERLAP if one.is_bigram else 1.0) for weight, one in zip(weights, every, strict=True))
        return cls(terms=every, having=having, candidates=len(candidates), weights=weights, in_bits=in_bits, _spoken=spoken)

    def share(self, passage: Passage) -> float:
        """How much of the topic the passage speaks of, 0 to 1."""
        whole = sum(self.weights)
        return self._sum(self._of(passage).whole) / whole if whole else 0.0

    def together(self, passage: Passage) -> float:
        """How much of what it speaks of is said in one sentence and the headings above, 0 to 1."""
        spoken = self._sum(self._of(passage).whole)
        said = (self._sum(_held(one, self.terms)) for one in _sentences(passage))
        return max(said, default=0.0) / spoken if spoken else 0.0

    def told(self, passage: Passage) -> bool:
        """Whether it speaks of two terms that say something, or of all there are."""
        whole = self._of(passage).whole
        telling = [share for share, one in zip(whole, self.terms, strict=True) if not one.is_common] or whole
        return sum(share > 0 for share in telling) >= min(2, len(telling))

    @property
    def is_story(self) -> bool:
        """Whether so much is said that a passage cannot be asked to speak of most of it."""
        return sum(_OVERLAP if one.is_bigram else 1.0 for one in self.terms) >= _STORY

    def headed(self, passage: Passage) -> float:
        """How much of what it speaks of stands in its title or headings too, 0 to 1."""
        said = self._of(passage)
        spoken = self._sum(said.whole)
        return self._sum(said.head) / spoken if spoken else 0.0

    def bits(self, passage: Passage, heading: float) -> float:
        """What the passage's hits weigh together, however much else was asked; one in a heading by `heading` more."""
        said = self._of(passage)
        return _weighed(said.whole, self.in_bits) + heading * _weighed(said.head, self.in_bits)

    def rank(self, passages: Sequence[Passage], heading: float) -> list[Passage]:
        """Best first, equals in the order they come in."""

        def said(passage: Passage) -> float:
            spoken = self._of(passage)
            return self._sum(spoken.whole) + heading * self._sum(spoken.head)

        return sorted(passages, key=said, reverse=True)

    def _of(self, passage: Passage) -> Spoken:
        return self._spoken.get(passage.id) or Spoken.of(passage, self.terms)

    def _sum(self, held: Held) -> float:
        return _weighed(held, self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """How far a passage holds each term: anywhere, and in its title or headings."""

    whole: Held
    head: Held

    @classmethod
    def of(cls, passage: Passage, every: Sequence[Asked]) -> Spoken:
        head = "\n".join((passage.title, *passage.heading_path))
        return cls(whole=_held(vocabulary(f"{head}\n{passage.text}"), every), head=_held(vocabulary(head), every))


def _weighed(held: Held, weights: Sequence[float]) -> float:
    return sum(share * weight for share, weight in zip(held, weights, strict=True) if share)


def _weight(one: Asked, every: Sequence[Asked], having: Mapping[str, int], candidates: int) -> float:
    # A term that no candidate holds counts as if one did.
    rarity = math.log(1 + (candidates + 1) / max(having[one.name], 1))
    if one.is_bigram and not having[one.name]:
        return rarity * _unexplained(one.name, [each.name for each in every if each.is_bigram and having[each.name]])
    return rarity * (_COMMON if one.is_common else 1 + _PHRASE * (len(one.key) - 1))


def _unexplained(bigram: str, held: Sequence[str]) -> float:
    """The share of a bigram nobody holds that is in no neighbour somebody does: one across two words is none."""
    left = any(name[-1] == bigram[0] for name in held)
    right = any(name[0] == bigram[-1] for name in held)
    return 1 - (left + right) / 2


def _held(words: Vocabulary, every: Sequence[Asked]) -> Held:
    """How far a text holds each of the terms, 0 to 1."""
    return tuple(1.0 if words.says(one.key) else _OTHERWISE if any(map(words.says, one.others)) else 0.0 for one in every)


def _key(phrase: str) -> Key:
    return (phrase.lower(),) if has_cjk(phrase) else tuple(map(stem, terms(phrase)))


def _sentences(passage: Passage) -> Iterator[Vocabulary]:
    head = "\n".join((passage.title, *passage.heading_path))
    # Not kept: the sentences of one search would drive out the passages of all.
    return (Vocabulary(f"{head}\n{passage.text[start:end]}") for start, end in statements(passage.text))
