"""What a request is about, in the user's words: the text of titles, descriptions and search queries."""

from __future__ import annotations

import re
from collections.abc import Sequence

from quarterdeck.core.everyday import EVERYDAY
from quarterdeck.core.synonyms import Synonyms
from quarterdeck.core.text import has_cjk, without_measures
from quarterdeck.models.simulation.asks import Ask, Kind
from quarterdeck.models.simulation.language import concepts, content, rest_of_chinese, stem

__all__ = ["own_words", "query_of", "residue", "subject_of"]

_SYNONYMS = Synonyms(EVERYDAY, stem)
# What a request is about, the clearest sign first: a reason, a colon, what follows a small word or a comma.
_REASONS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"\b(?:because(?: of)?|since|that says|saying|about|regarding|concerning|titled|called|named|due to)\s+(\S.*)",
        r"[:：]\s+(\S.*)",
        r"\b(?:that|as)\s+(\S.*)",
        r"\b(?:for|on|to)\s+((?!me\b|us\b|you\b|my (?:team|manager)\b)\S.*)",
        r"[，,—]\s*(\S.*)",
    )
)
_WHY_CHINESE = re.compile(
    r"(?:因为|由于|关于|原因是|内容是|标题是|主题是|说)\s*[:：，,]?\s*(?P<why>[^，,。]+.*)|[:：]\s*(?P<colon>\S.*)",
    re.DOTALL,
)
_WHAT_CHINESE = re.compile(r"(?:一个|一张|一份|一条|一项|个|张)(?P<what>.{2,60}?)的(?=[\u4e00-\u9fff]{1,6}(?:[，,。！!]|$))")
_EMAIL = re.compile(r"\S+@\S+")
_POSSESSIVE = re.compile(
    r"^(?:(?:the fact that|my|our|the|a|an|i have (?:a|an)?|there is (?:a|an)?|is that)\s+)+", re.IGNORECASE
)
_TAIL = re.compile(r"[\s,.;!?。！？，；]+$|\s*[,.]?\s*(?:please|thanks|thank you|谢谢)[\s.!]*$", re.IGNORECASE)
_GREETING = re.compile(r"^\s*(?:(?:hi|hello|hey)(?: there| team| all)?|你好|您好|大家好)[\s,.!，。！]+", re.IGNORECASE)
_ASKING = re.compile(
    r"^(?:(?:please|kindly|(?:can|could|would) you(?: please)?|i (?:want|need|would like) to|i'd like to|i want to know|"
    r"tell me|do you know|help me|find(?: me)?|search(?: for)?|look (?:up|for)|show me|give me|get me|check)\b\s*|"
    r"(?:请问|请|帮我|麻烦|我想知道|我想了解|告诉我|查一下|查找|搜索|查询|帮忙)\s*)+",
    re.IGNORECASE,
)


def own_words(text: str) -> str:
    """The user's words without the greeting."""
    return _GREETING.sub("", text).strip()


def subject_of(text: str, asks: Sequence[Ask], known: frozenset[str]) -> str | None:
    """What is wrong or wanted, as a short line; None if the message names nothing beyond the act itself.

    Args:
        known: Concepts of the tool: words that say which tool is meant, not what is the matter.
    """
    for ask in asks:
        if ask.kind is Kind.REQUEST and (found := _reason(ask.text, known)):
            return found
    for ask in asks:
        if ask.kind is Kind.STATEMENT and set(concepts(ask.text)) - known:
            return _short(own_words(ask.text))
    for ask in asks:
        if ask.kind is Kind.REQUEST and (found := residue(ask, known)):
            return _short(found)
    return None


def residue(ask: Ask, known: frozenset[str]) -> str:
    """What is left of a clause without its verb, its little words and what the tool is called."""
    if has_cjk(ask.text):
        return rest_of_chinese(ask.text, known)
    left = [word for word in content(_ASKING.sub("", ask.text)) if not _is_known(word, ask, known)]
    return " ".join(left)


def query_of(text: str, carried: str = "") -> str:
    """A search query: the content of the question, before it that of the question it leans on."""
    words = _kept(_asked(text)) or content(_ASKING.sub("", own_words(text)))
    lowered = {word.lower() for word in words}
    before = [word for word in _kept(_asked(carried)) if word.lower() not in lowered] if carried else []
    return " ".join(before + words)


def _kept(text: str) -> list[str]:
    """The content words of a text and, whole, the phrases that mean something as such: "out of office" is not "office"."""
    phrases = {one.text for one in _SYNONYMS.read(text)[0] if " " in one.text}
    if not phrases:
        return content(text)
    pieces = re.split(f"({'|'.join(map(re.escape, sorted(phrases, key=len, reverse=True)))})", text)
    return [word for piece in pieces for word in ([piece] if piece in phrases else content(piece))]


def _asked(text: str) -> str:
    return without_measures(_ASKING.sub("", own_words(text)))


def _is_known(word: str, ask: Ask, known: frozenset[str]) -> bool:
    found = concepts(word)
    return not found or all(term in known or term == ask.verb for term in found)


def _reason(text: str, known: frozenset[str]) -> str | None:
    if has_cjk(text):
        match = _WHY_CHINESE.search(text) or _WHAT_CHINESE.search(text)
        if match is None and re.search(r"[，,]", text):
            pieces = [piece for piece in re.split(r"[，,]", text) if set(concepts(piece)) - known]
            pieces = [piece for piece in pieces if not re.search(r"请|帮|麻烦", piece)]
            return _short(pieces[0]) if pieces else None
    else:
        matches = (pattern.search(_EMAIL.sub("", text)) for pattern in _REASONS)
        match = next((m for m in matches if m is not None and set(concepts(m[1])) - known), None)
    if match is None:
        return None
    found = next(filter(None, match.groups()))
    return _short(found) if set(concepts(found)) - known else None


def _short(text: str) -> str:
    """A line for a title: without possessives and punctuation at its ends, beginning with a capital."""
    text = re.sub(r"\s+", " ", text).strip()
    text = _TAIL.sub("", _TAIL.sub("", _POSSESSIVE.sub("", re.sub(r"^我的|^我们的|^我", "", text))))
    if len(text) > 80:
        text = text[:80].rsplit(" ", 1)[0] if " " in text[:80] else text[:80]
    return text[:1].upper() + text[1:]
