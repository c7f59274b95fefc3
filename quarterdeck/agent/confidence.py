"""How far an answer can be believed: a number computed from evidence, and its level.

The formula is documented with its reasons in ``docs/explanation/confidence.md``. Every factor can only lower the score, so
that each one missing piece of evidence is enough to lose trust; what a model claims of itself can lower it, never raise it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quarterdeck.core.answers import Confidence, Passage
from quarterdeck.core.text import has_cjk
from quarterdeck.knowledge.analyze import Vocabulary, question_terms, searched, topic_terms, vocabulary
from quarterdeck.knowledge.cite import Cited, words_of
from quarterdeck.knowledge.entail import differs

__all__ = ["Evidence", "Judged", "claimed_by", "evidence_of", "judge", "level_of", "without_claim"]

HIGH, MEDIUM = 0.75, 0.5  # least scores of the levels
_TOLD, _NOTHING, _BROKEN = 0.6, 0.2, 0.3  # by tools alone; by nothing; whatever says so, but a rule was broken
_TOO_SURE = 0.95  # words in common prove no truth
_SAME = 0.75  # share of a sentence's topic from which another passage speaks of the same
_OTHERWISE, _AGREED, _SEARCH_FAILED, _UNCHECKED = 0.6, 0.2, 0.85, 0.95
_CONFIRMED = 0.9  # support of a sentence that a model confirms, however few words it shares with its passages
_CLAIMS: Mapping[str, float] = {"low": 0.2, "medium": 0.6, "high": 0.9, "低": 0.2, "中": 0.6, "高": 0.9}
_CLAIM = re.compile(
    r"^[^\w\n]{0,4}(?:my )?(?:confidence|置信度|把握)\W{0,4}[:：]\W{0,4}"
    r"(?P<said>low|medium|high|[低中高]|[01](?:\.\d{1,4})?|0?\.\d{1,4}|\d{1,3}\s?%)[^\w\n]{0,4}\Z",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for an answer and against it.

    Attributes:
        supports: For each cited sentence the share of its topic that its passages hold, 0 to 1.
        uncited: Sentences that claim something and cite nothing.
        removed: Sentences that were taken out, because what they cited does not bear them out.
        relevance: Share of the question's topic that the cited passages hold, 0 to 1; None where the two are of
            different languages, or the question names no topic.
        standing: Score of the best cited passage beside that of the best one retrieved, 0 to 1.
        agreeing, differing: Cited sentences of which another document says the same, or something else.
        told: Tools that are no search gave something.
        claimed: What the model claims of itself, 0 to 1; None if it does not.
        search_failed: The search before the first model call came too late or failed.
        unchecked: A model should have checked the citations and did not, so that words decided.
        broken: A rule of answers was broken, or the run had to stop.
    """

    supports: tuple[float, ...] = ()
    uncited: int = 0
    removed: int = 0
    relevance: float | None = None
    standing: float = 1.0
    agreeing: int = 0
    differing: int = 0
    told: bool = False
    claimed: float | None = None
    search_failed: bool = False
    unchecked: bool = False
    broken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A score, 0 to 1, its level, and why it is no higher, in words for a person."""

    score: float
    level: Confidence
    reasons: tuple[str, ...]


def judge(evidence: Evidence) -> Judged:
    """The confidence that this evidence allows."""
    score, reasons = 1.0, []
    for factor, reason in _factors(evidence):
        score *= factor
        if factor < 1:
            reasons.append(reason)
    if evidence.agreeing and not evidence.differing:
        score += _AGREED * (1 - score)
    claimed = evidence.claimed
    if claimed is not None and claimed < score:
        score = (score + claimed) / 2
        reasons.append(f"the model itself claims {claimed:.0%}")
    for cap, reason in _caps(evidence):
        if score > cap:
            score = cap
            reasons.append(reason)
    score = round(score, 3)
    return Judged(score=score, level=level_of(score), reasons=tuple(reasons))


def level_of(score: float) -> Confidence:
    """The level of a score."""
    return Confidence.HIGH if score >= HIGH else Confidence.MEDIUM if score >= MEDIUM else Confidence.LOW


def _factors(evidence: Evidence) -> Iterator[tuple[float, str]]:
    cited = len(evidence.supports)
    if cited:
        mean = sum(evidence.supports) / cited
        yield 0.4 + 0.6 * (mean + min(evidence.supports)) / 2, f"the cited passages hold {mean:.0%} of what is said"
        # What tools gave cites nothing, and need not.
        share = cited / (cited + (0 if evidence.told else evidence.uncited) + evidence.removed)
        yield share, f"{share:.0%} of the sentences that claim something are borne out by a source"
        relevance = 0.6 if evidence.relevance is None else evidence.relevance
        told = "cannot be compared with" if evidence.relevance is None else f"speak of {relevance:.0%} of"
        yield 0.55 + 0.45 * relevance, f"the cited passages {told} the question"
        yield 0.8 + 0.2 * evidence.standing, "better passages were found than those that are cited"
    yield _OTHERWISE if evidence.differing else 1.0, "another document says otherwise"
    yield _SEARCH_FAILED if evidence.search_failed else 1.0, "the search came too late or failed"
    yield _UNCHECKED if evidence.unchecked else 1.0, "no model checked the citations: words in common decided"


def _caps(evidence: Evidence) -> Iterator[tuple[float, str]]:
    if not evidence.supports:
        yield (_TOLD, "it rests on tools, not on sources") if evidence.told else (_NOTHING, "nothing bears it out")
    elif evidence.uncited:
        yield HIGH - 0.001, "some of it cites nothing"
    if evidence.broken:
        yield _BROKEN, "a rule of answers was broken"
    yield _TOO_SURE, "words in common prove no truth"


def evidence_of(
    cited: Cited,
    passages: Mapping[str, Passage],
    question: str,
    *,
    told: Sequence[str] = (),
    claimed: float | None = None,
    search_failed: bool = False,
    unchecked: bool = False,
    broken: bool = False,
) -> Evidence:
    """The evidence for an answer whose marks are resolved.

    Args:
        passages: All that the run retrieved, by id.
        question: What the person asked last.
        told: What tools that are no search gave.
    """
    dropped = set(cited.unsupported)
    kept = [citation for citation in cited.citations if citation.sentence not in dropped]
    used = {citation.passage.id: citation.passage for citation in kept}
    supports = {citation.sentence: citation.support for citation in kept}
    supports |= {name: max(supports[name], _CONFIRMED) for name in cited.confirmed if name in supports}
    agreeing, differing = _echoes(supports, used, passages)
    return Evidence(
        supports=tuple(supports.values()),
        uncited=len(cited.uncited),
        removed=len(dropped),
        relevance=_relevance(question, [*map(words_of, used.values()), *told]),
        standing=_standing(tuple(used.values()), tuple(passages.values())),
        agreeing=agreeing,
        differing=differing,
        told=bool(told),
        claimed=claimed,
        search_failed=search_failed,
        unchecked=unchecked,
        broken=broken,
    )


def _relevance(question: str, texts: Sequence[str]) -> float | None:
    text = "\n".join(texts)
    question = searched(question)
    topic = question_terms(question)
    return Vocabulary(text).share(topic) if topic and has_cjk(question) == has_cjk(text) else None


def _standing(used: Sequence[Passage], retrieved: Sequence[Passage]) -> float:
    best = max((passage.score for passage in retrieved), default=0.0)
    mine = max((passage.score for passage in used), default=0.0)
    return max(0.0, min(1.0, mine / best)) if best > 0 else 1.0


def _echoes(sentences: Mapping[str, float], used: Mapping[str, Passage], passages: Mapping[str, Passage]) -> tuple[int, int]:
    """Of how many sentences other documents say the same, and of how many something else.

    The cited passages' own documents are left out: they repeat themselves, and a list of rules has a number in each.
    """
    own = {passage.doc_id for passage in used.values()}
    others = [words_of(passage) for passage in passages.values() if passage.doc_id not in own]
    agreeing = differing = 0
    for sentence in sentences:
        topic = topic_terms(sentence)
        alike = [text for text in others if topic and vocabulary(text).share(topic) >= _SAME]
        says_so = [not differs(sentence, [text]) for text in alike]
        agreeing += any(says_so)
        differing += bool(says_so) and not any(says_so)
    return agreeing, differing


def claimed_by(output: Any) -> float | None:
    """What a typed answer claims in its field ``confidence``: a level, or a number of 0 to 1; None for anything else."""
    said = output.get("confidence") if isinstance(output, Mapping) else None
    if isinstance(said, str):
        return _CLAIMS.get(said.strip().lower())
    return float(said) if isinstance(said, (int, float)) and not isinstance(said, bool) and 0 <= said <= 1 else None


def without_claim(text: str) -> tuple[str, float | None]:
    """The text without a last line like ``Confidence: high``, ``Confidence: 0.8`` or ``置信度：高``, and what it says."""
    found = _CLAIM.search(text)
    if found is None:
        return text, None
    said = found["said"].lower()
    value = _CLAIMS.get(said)
    if value is None:
        value = float(said.rstrip("% ")) / 100 if said.endswith("%") else float(said)
    return (text[: found.start()].rstrip(), value) if value <= 1 else (text, None)
