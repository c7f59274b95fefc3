"""Does a passage support a sentence? A lexical check: quick, the same every time, in English and Chinese.

A sentence is supported when enough of its topic terms occur in what it cites and nothing in it is contradicted on the face
of it: every number, code, address and link must occur, a number with the same sign, with no other unit, not only as a bound
of the other kind and not of something else than it counts; months and days of the week must be those of the passage, where
it names any; and the part of the passage that says the most similar thing must not be negated where the sentence is not, or
the other way round. A paraphrase in quite other words fails; that is a false alarm and costs one more question to the
model. A wrong sentence in the passage's own words passes; no lexical check can see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from quarterdeck.knowledge.analyze import statements, topic_terms, vocabulary
from quarterdeck.knowledge.bounds import bounds_otherwise
from quarterdeck.knowledge.calendar_names import names_other_dates
from quarterdeck.knowledge.counted import counts_otherwise
from quarterdeck.knowledge.quantities import quantities, stands_in, without_articles

__all__ = ["ENOUGH", "contradicts", "differs", "support"]

ENOUGH = 0.5  # share of the topic terms of a sentence that its passages must hold
_ALIKE = 0.15  # how much less similar than the best a part of the passage may be and still speak for or against

_CLAUSE_END = re.compile(r"(?<=[,;:，；：、])(?!\d)|\s+(?=(?:but|and|or|unless|except|if|when|while|because)\b)")
_LITERAL = re.compile(r"https?://[^\s)\]>，。；、]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
_CODE = re.compile(r"\b(?:[A-Z]{2,}|[A-Za-z]+\d[A-Za-z0-9]*)\b", re.ASCII)
# Only words that turn a statement round. "Not only", "no later than", "不仅" and "不超过" do not.
_NEGATION = re.compile(
    r"\bnot\b(?!\s+(?:only|just|merely|later|more|less|exceed\w*)\b)|n['’ʼ]t\b"
    r"|\b(?:cannot|never|none|nobody|nothing|neither|without|forbidden|prohibited|banned|disallowed|impossible)\b"
    r"|\bno\b(?!\s+(?:later|more|less|fewer|sooner|matter)\b)(?!\s*,)"
    r"|不(?![仅但过断同久论少错超晚迟低高早限]|好意思)|没(?!关系)|(?:尚|从)未|未[经能获]|[并绝]非|无(?![线论])|禁止|严禁|请勿|切勿",
    re.IGNORECASE,
)


def support(sentence: str, texts: Sequence[str]) -> float:
    """The share of the sentence's topic terms that occur in any of the texts, 0 to 1. Without topic terms it is 1."""
    topic = topic_terms(sentence)
    return vocabulary("\n".join(texts)).share(topic) if topic else 1.0


def contradicts(sentence: str, texts: Sequence[str]) -> bool:
    """True if the sentence holds a number, code, address or negation that the texts do not bear out."""
    return differs(sentence, texts) or _negated_otherwise(sentence, "\n".join(texts))


def differs(sentence: str, texts: Sequence[str]) -> bool:
    """True if the sentence holds a number, code or address that stands in none of the texts, or counts another thing,
    or another bound or date."""
    whole = "\n".join(texts)
    lowered = whole.lower()
    given = quantities(whole)
    return (
        any(not stands_in(quantity, given) for quantity in quantities(without_articles(sentence)))
        or any(literal.rstrip(".").lower() not in lowered for literal in _LITERAL.findall(sentence))
        or not _codes(sentence) <= _codes(whole.upper())
        or bounds_otherwise(sentence, whole)
        or counts_otherwise(sentence, whole)
        or names_other_dates(sentence, whole)
    )


@lru_cache(maxsize=512)  # each sentence of an answer is held against the same passages
def _codes(text: str) -> frozenset[str]:
    """Abbreviations and names with digits: the words that cannot be said in other words."""
    return frozenset(code.upper() for code in _CODE.findall(text) if topic_terms(code))


def _negated_otherwise(sentence: str, text: str) -> bool:
    """True if some clause of the sentence is negated and all the parts most like it are not, or the other way round."""
    parts = [(vocabulary(part), _negated(part)) for part in _parts(text)]
    for clause in _clauses(sentence):
        topic = topic_terms(clause)
        likeness = [(words.share(topic), negated) for words, negated in parts]
        best = max((share for share, _ in likeness), default=0.0)
        if best < ENOUGH:
            continue  # nothing says anything like it: that is for `support` to judge
        if all(negated is not _negated(clause) for share, negated in likeness if share >= best - _ALIKE):
            return True
    return False


def _negated(text: str) -> bool:
    return len(_NEGATION.findall(text)) % 2 == 1


def _parts(text: str) -> Iterator[str]:
    """Sentences and, where they have several, their clauses: "if it is not yours, return it" affirms the returning."""
    for start, end in statements(text):
        sentence = text[start:end]
        yield sentence
        clauses = _clauses(sentence)
        if len(clauses) > 1:
            yield from clauses


def _clauses(sentence: str) -> list[str]:
    return [clause for clause in _CLAUSE_END.split(sentence) if clause.strip()]
