"""Finds the sentences that answer a question in passages, and says when there are none."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from quarterdeck.core.everyday import EVERYDAY
from quarterdeck.core.synonyms import Synonyms
from quarterdeck.core.text import has_cjk, sentences, terms, without_measures
from quarterdeck.models.simulation.coherence import AskedFor
from quarterdeck.models.simulation.language import concepts, stem
from quarterdeck.models.simulation.results import Source

__all__ = ["MATCHED", "MEANT", "Picked", "pick", "plain_sentences"]

_PASSAGE_ENOUGH = 0.5  # share of the question, by rarity, that the best passage must speak of
_DOUBTED_ENOUGH = 0.7  # the same where a search measured how much speaks for the passage, and it is not much
_PASSAGE_ENOUGH_CJK = 0.4  # of bigrams fewer are found: some lie across two words. Measured on CMRC 2018, as in `relevance`
_SENTENCE_ENOUGH = 0.4  # and the best sentence together with its heading
_HEADING_COUNTS = 1.0  # what a term in the heading is worth beside one in the sentence itself
_HEADED_TOO = 0.4  # what a term in both gains: the article on the matter before one that mentions it
_EVIDENT = 0.56  # of a search that measures it: the passage is about the question, in whatever words
_EVIDENT_CJK = 0.44  # bigrams that lie across two words do not count there, so less proves more
# What all evidence for its passage is worth to a sentence, beside all terms of the question.
MATCHED = 0.5  # of a search that compares words
MEANT = 1.0  # of one that compares meaning, of which shared words tell less
_OTHERWISE_COUNTS = 0.7  # what a term counts that is said in other words
_NEXT = 0.72  # how near to the best sentence a further one must come
_STEPS = 5  # sentences of a numbered list that are said, since half an instruction helps nobody

_SYNONYMS = Synonyms(EVERYDAY, stem)
_MARKS = re.compile(r"^\s*(?:>\s*|[-*+•]\s+|\d{1,2}[.)、]\s*|#{1,6}\s+)+")
_HEADING = re.compile(r"^\s*#{1,6}\s|^\s*[=-]{3,}\s*$")
_RULE = re.compile(r"^[\s|:+-]*$")
_LINK = re.compile(r"!?\[([^\]]*)\]\((?:[^()\s]|\([^()]*\))*\)")
_STYLE = re.compile(r"\*\*|__|`+|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)")
_NUMBERED = re.compile(r"^\s*\d{1,2}[.)、]")
_BLOCK = re.compile(r"^\s*(?:[-*+•]\s|\d{1,2}[.)、]|#{1,6}\s|>|\||```)")
_WORD = re.compile(r"[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_AMOUNT = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|once|twice|half|unlimited)\b|"
    r"[一二两三四五六七八九十百]"
)
_WHEN = re.compile(
    r"\d|\b(?:day|week|month|year|hour|minute|monday|tuesday|wednesday|thursday|friday|daily|weekly|monthly|yearly|"
    r"annually|before|after|until|"
    r"within|january|february|march|april|june|july|august|september|october|november|december)s?\b|[天日周月年时点分]",
    re.IGNORECASE,
)
_WANTS_AMOUNT = re.compile(
    r"\bhow (?:many|much|long|often|far|old|large|big|high|wide|heavy|fast|quickly|soon|late|early)\b|\bmaximum|"
    r"\bminimum|\blimit|多少|几[天个次年月岁位]|多久|多长|多大|多远",
    re.IGNORECASE,
)
# "How many days do I have?" is answered by what people have, not by how many of them may be carried over.
_WANTS_SHARE = re.compile(
    r"\bhow (?:many|much)\b.*\b(?:do|does|am|is|are)\b.*\b(?:have|get|receive|entitled)\b|有(?:多少|几)", re.IGNORECASE
)
_HAS = re.compile(r"\b(?:have|has|gets?|receives?|entitled|entitlement|gives)\b|有\s*\d", re.IGNORECASE)
_WANTS_TIME = re.compile(
    r"\bwhen\b|\bhow (?:long|soon|often|late|early)\b|\bwhat (?:time|date|day)\b|\bdeadline|什么时候|何时|几点|多久|"
    r"多长时间|哪年|哪一年|几年|日期",
    re.IGNORECASE,
)
# "This is the class of ..." says nothing without the sentence before it.
_LEANS = re.compile(r"\W*(?:(?:this|that|these|those|it|they|both|otherwise)\b|这|那|该|此|它)", re.IGNORECASE)
_WANTS_STEPS = re.compile(
    r"\bhow (?:do|can|should|to|would|could)\b|\bsteps?\b|\bprocess\b|怎么|如何|怎样|步骤|流程", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Picked:
    """A sentence to answer with, and the passage it is from."""

    text: str
    source: str
    score: float


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    place: int
    source: int
    is_step: bool
    terms: frozenset[str]
    meant: frozenset[str]  # terms it says in other words


def _weights_of(question: str, carried: str = "") -> dict[str, float]:
    """The terms a sentence is measured by: those of the question, and with half the weight those it leans on."""
    weights = dict.fromkeys(
        concepts(without_measures(question), translate=False) or concepts(question, translate=False), 1.0
    )
    for term in concepts(carried, translate=False) if carried else ():
        weights.setdefault(term, 0.5)
    return weights


def pick(question: str, carried: str, sources: Sequence[Source], limit: int = 3, trust: float = MATCHED) -> list[Picked]:
    """The one to `limit` sentences that answer, in the order to be said; none if nothing comes near enough.

    Args:
        trust: `MATCHED` or `MEANT`, by what the search that gave the sources compares.
    """
    weights = _weights_of(question, carried)
    if has_cjk(question) and not any(has_cjk(source.content) for source in sources):
        weights = {term: 1.0 for term in concepts(f"{question} {carried}") if term.isascii()}
    if not weights:
        return []
    wanted = _Terms(weights, f"{question} {carried}")
    found = [sentence for index, source in enumerate(sources) for sentence in _sentences(index, source, wanted)]
    if not found:
        return []
    titles = [wanted.present(source.title)[0] for source in sources]
    evidence = [source.score for source in sources]
    asked_for = AskedFor(question, weights)
    left = [
        asked_for.share(f"{source.title}\n{source.content}", _otherwise(index, found))
        for index, source in enumerate(sources)
    ]
    measure = _Measure(question, wanted.weights, found, titles, evidence, trust, left)
    scored = sorted(
        ((measure.score(s), -s.source, -s.place, s) for s in found if s.terms or titles[s.source] or measure.evident(s)),
        reverse=True,
    )
    if not scored or not measure.answers(scored[0][3]):
        return []
    best_score, best = scored[0][0], scored[0][3]
    chosen = _steps(best, found, limit) if measure.wants_steps else [best]
    for score, _, _, sentence in scored[1:]:
        if len(chosen) >= limit or score < _NEXT * best_score:
            break
        if all(sentence.text != other.text for other in chosen):
            chosen.append(sentence)
    chosen += [before for one in chosen if (before := _leans_on(one, found)) is not None and before not in chosen]
    chosen.sort(key=lambda sentence: (sentence.source != best.source, sentence.source, sentence.place))
    return [Picked(sentence.text, sources[sentence.source].id, best_score) for sentence in chosen]


class _Measure:
    """How far a sentence answers the question: the share of its terms, the rare ones counting more, and its kind."""

    def __init__(
        self,
        question: str,
        weights: Mapping[str, float],
        found: Sequence[_Sentence],
        titles: Sequence[frozenset[str]],
        evidence: Sequence[float],
        trust: float,
        left: Sequence[float],
    ) -> None:
        """
        Args:
            left: What is left, by source, of all that speaks for it, since it speaks of the thing asked for or does not.
        """
        self.wants_amount = _WANTS_AMOUNT.search(question) is not None
        self.wants_time = _WANTS_TIME.search(question) is not None
        self.wants_share = _WANTS_SHARE.search(question) is not None
        self.wants_steps = _WANTS_STEPS.search(question) is not None
        self._chinese = has_cjk(question)
        self._titles = titles
        self._evidence = evidence
        self._trust = trust
        self._left = left
        counts = Counter(term for terms in (*(sentence.terms for sentence in found), *titles) for term in terms)
        # The fewer sentences have a term, the more it tells; one that none has tells most.
        self._rarity = {term: weight * math.log(1.0 + len(found) / (1.0 + counts[term])) for term, weight in weights.items()}
        self._total = sum(self._rarity.values()) or 1.0
        whole = [set(title) for title in titles]
        for sentence in found:
            whole[sentence.source] |= sentence.terms
        self._whole = [self._share(terms) for terms in whole]

    def evident(self, sentence: _Sentence) -> bool:
        """Whether the search that found its passage says that it is about the question."""
        return self._left[sentence.source] * self._evidence[sentence.source] >= (_EVIDENT_CJK if self._chinese else _EVIDENT)

    def answers(self, best: _Sentence) -> bool:
        """True if the best sentence and its passage speak of enough of the question, or the search says so."""
        if self.evident(best):
            return True
        left = self._left[best.source]
        reached = left * self._share(best.terms | self._titles[best.source])
        return left * self._whole[best.source] >= self._enough(best.source) and reached >= _SENTENCE_ENOUGH

    def _enough(self, source: int) -> float:
        if self._chinese:
            return _PASSAGE_ENOUGH_CJK
        return _DOUBTED_ENOUGH if self._evidence[source] else _PASSAGE_ENOUGH

    def score(self, sentence: _Sentence) -> float:
        heading = self._titles[sentence.source] - sentence.terms
        score = self._share(sentence.terms) + 0.4 * self._whole[sentence.source]
        score += self._trust * self._evidence[sentence.source]
        # What the heading has was counted with it: a sentence without the word weighs no more than one with it.
        score += _OTHERWISE_COUNTS * self._share(sentence.meant - self._titles[sentence.source])
        if heading:
            score += _HEADING_COUNTS * self._share(heading)
        score += _HEADED_TOO * self._share(self._titles[sentence.source] & sentence.terms)
        if self.wants_amount:
            score += _amount(sentence.text)
        if self.wants_share and _HAS.search(sentence.text):
            score += 0.12
        if self.wants_time and _WHEN.search(sentence.text):
            score += 0.12
        if self.wants_steps and sentence.is_step:
            score += 0.2
        if len(sentence.text) < 12 or sentence.text.endswith((":", "：", "?", "？")):
            score -= 0.15
        # Engines list the best first; between equals their order decides.
        return self._left[sentence.source] * score - 0.015 * sentence.source

    def _share(self, present: Collection[str]) -> float:
        return sum(self._rarity[term] for term in present) / self._total


def _otherwise(index: int, found: Sequence[_Sentence]) -> frozenset[str]:
    """The terms that a source says in other words, somewhere."""
    return frozenset(term for sentence in found if sentence.source == index for term in sentence.meant)


def _amount(text: str) -> float:
    """What it is worth to who asks how many: figures more than words, which also stand in "one of your" and "twice"."""
    if any(char.isdigit() for char in text):
        return 0.5
    return 0.2 if _AMOUNT.search(text) else 0.0


def plain_sentences(text: str) -> Iterator[tuple[str, bool]]:
    """The sentences of a Markdown text without its marks; headings and rules are left out. True for a numbered step."""
    for block, is_step in _blocks(text):
        clean = _LINK.sub(r"\1", block) if "](" in block else block
        clean = _STYLE.sub("", clean).strip() if any(mark in clean for mark in "*_`") else clean
        for start, end in sentences(clean):
            sentence = clean[start:end]
            if any(char.isalnum() for char in sentence):
                yield sentence, is_step


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Paragraphs with their wrapped lines joined, and list items and table rows one by one."""
    block: list[str] = []
    is_step = False
    for line in [*text.splitlines(), ""]:
        if line[:1].isalpha():  # plain text, as most lines are: no mark to look for
            if not block:
                is_step = False
            block.append(line.rstrip())
            continue
        starts = _BLOCK.match(line) is not None
        if block and (starts or not line.strip()):
            yield _join(block), is_step
            block = []
        bare = line.lstrip()
        if not bare or bare.startswith("```") or _HEADING.match(line) or _RULE.match(line):
            continue
        if bare.startswith("|"):
            yield " – ".join(cell.strip() for cell in line.strip().strip("|").split("|") if cell.strip()), False
            continue
        if not block:
            is_step = _NUMBERED.match(line) is not None
        block.append(_MARKS.sub("", line).strip())


def _join(lines: Sequence[str]) -> str:
    joined = lines[0]
    for line in lines[1:]:
        joined += line if has_cjk(joined[-1:]) and has_cjk(line[:1]) else f" {line}"
    return joined


def _sentences(index: int, source: Source, wanted: _Terms) -> Iterator[_Sentence]:
    for place, (text, is_step) in enumerate(plain_sentences(source.content)):
        yield _Sentence(text, place, index, is_step, *wanted.present(text))


class _Terms:
    """The terms of a question, and which of them a text holds, in these words or others of any office."""

    def __init__(self, weights: Mapping[str, float], asked: str) -> None:
        self.weights = weights
        self._joined = tuple(term for term in weights if not term.isascii())
        self._others = [(term, one) for term, meant in _meant(asked, weights) for one in meant]
        # Most sentences hold no term: two letters of each, as asked and as stem, tell that before a look at the words.
        others = (word for _, one in self._others for word in one)
        self._heads = tuple({word[:2] for word in (*weights, *_WORD.findall(asked.lower()), *others)})

    def present(self, text: str) -> tuple[frozenset[str], frozenset[str]]:
        """The terms it says, and those it says in other words."""
        lowered = text.lower()
        for head in self._heads:
            if head in lowered:
                break
        else:
            return frozenset(), frozenset()
        words = set(map(stem, _WORD.findall(lowered)))
        found = words & self.weights.keys()
        found.update(term for term in self._joined if term in lowered)
        otherwise = {
            term
            for term, other in self._others
            if all(word in words or (has_cjk(word) and word in lowered) for word in other)
        }
        return frozenset(found), frozenset(otherwise - found)


def _meant(asked: str, weights: Mapping[str, float]) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """The terms of a question that other words say too, with the stems of those."""
    for one in _SYNONYMS.read(asked)[0]:
        own = [term for term in concepts(one.text, translate=False) if term in weights]
        for term in own:
            yield term, [tuple(map(stem, terms(other))) if not has_cjk(other) else (other,) for other in one.others]


def _leans_on(sentence: _Sentence, found: Sequence[_Sentence]) -> _Sentence | None:
    """The sentence before one that begins with a word for it; None for one that stands by itself, or is the first."""
    if not _LEANS.match(sentence.text):
        return None
    before = (other for other in found if other.source == sentence.source and other.place == sentence.place - 1)
    return next(before, None)


def _steps(best: _Sentence, found: Sequence[_Sentence], count: int) -> list[_Sentence]:
    """An instruction is more than its best sentence: the numbered steps it belongs to, from the first, else what follows."""
    near = [sentence for sentence in found if sentence.source == best.source]
    if best.is_step:
        return [sentence for sentence in near if sentence.is_step][: max(count, _STEPS)]
    return [best, *(sentence for sentence in near if sentence.place == best.place + 1)][:count]
