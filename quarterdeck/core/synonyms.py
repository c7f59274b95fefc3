"""Words that mean the same: who asks for "vacation" is answered by an article on "leave"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from quarterdeck.core.text import has_cjk, terms

__all__ = ["Group", "Meant", "Synonyms"]

Group = Sequence[str]
"""Words or phrases that stand for one another."""

_LONGEST = 4  # words of an English phrase
_SPACED_WORD = re.compile(r"[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """A word or phrase of a text that has others.

    Attributes:
        text: As it is written there.
        others: What else says it, in the order of the groups; without itself.
    """

    text: str
    others: tuple[str, ...]


class Synonyms:
    """Groups of words, looked up in a text. A word may be in several groups; groups are not joined by it."""

    def __init__(self, groups: Iterable[Group], stem: Callable[[str], str]) -> None:
        """
        Args:
            stem: What inflected forms of a lower-cased English word share, so that "vacations" is found as "vacation".
        """
        self._stem = stem
        self._others: dict[tuple[str, ...], dict[str, None]] = {}
        for group in groups:
            for word in group:
                others = self._others.setdefault(self._key(word), {})
                others.update(dict.fromkeys(other for other in group if self._key(other) != self._key(word)))
        joined = sorted(("".join(key) for key in self._others if has_cjk(key[0])), key=len, reverse=True)
        self._joined = re.compile("|".join(map(re.escape, joined))) if joined else None

    def read(self, text: str) -> tuple[list[Meant], str]:
        """The words and phrases of `text` that have others, the longest first where they overlap, and what is left of it."""
        found: list[Meant] = []
        rest = text
        if self._joined is not None and has_cjk(text):
            found += (self._meant((m[0],), m[0]) for m in self._joined.finditer(text.lower()))
            rest = self._joined.sub(" ", text.lower())
        words = [(match.start(), match.end(), self._stem(match[0].lower())) for match in _SPACED_WORD.finditer(rest)]
        kept: list[str] = []
        place = at = 0
        while place < len(words):
            taken = self._longest([word for _, _, word in words[place : place + _LONGEST]])
            if taken:
                start, end = words[place][0], words[place + taken - 1][1]
                found.append(self._meant(tuple(word for _, _, word in words[place : place + taken]), rest[start:end]))
                kept.append(rest[at:start])
                at = end
            place += taken or 1
        return found, " ".join((*kept, rest[at:]))

    def _longest(self, ahead: Sequence[str]) -> int:
        return next((size for size in range(len(ahead), 0, -1) if tuple(ahead[:size]) in self._others), 0)

    def _meant(self, key: tuple[str, ...], text: str) -> Meant:
        return Meant(text=text, others=tuple(self._others[key]))

    def _key(self, word: str) -> tuple[str, ...]:
        return (word.lower(),) if has_cjk(word) else tuple(map(self._stem, terms(word)))
