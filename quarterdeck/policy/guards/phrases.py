"""A guard that finds phrases of a list: whole words, of Chinese also within a text; case and width do not matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.resources import files

from quarterdeck.core.text import has_cjk
from quarterdeck.policy.grounding import fold
from quarterdeck.policy.guards.base import About, Finding

__all__ = ["Phrases", "abuse"]


class Phrases:
    """Any of these phrases. A finding is the whole text: folding moves what it is compared in."""

    def __init__(self, name: str, phrases: Iterable[str]) -> None:
        self.name = name
        folded = sorted({fold(phrase) for phrase in phrases} - {""}, key=len, reverse=True)
        words, runs = _any_of(one for one in folded if not has_cjk(one)), _any_of(filter(has_cjk, folded))
        # The border once for all words: looked for with each it takes ten times as long.
        self._any = re.compile(rf"(?<!\w){words}(?!\w)|{runs}")

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        if self._any.search(fold(text.replace("’", "'"))) is None:
            return ()
        return [Finding(self.name, 0, len(text))]


def _any_of(phrases: Iterable[str]) -> str:
    """A pattern of any of them; of none it matches nothing."""
    return f"(?:{'|'.join(map(re.escape, phrases)) or '(?!)'})"


def abuse(more: Iterable[str] = ()) -> Phrases:
    """The list that comes along, and `more`."""
    listed = files(__package__).joinpath("words", "abuse.txt").read_text(encoding="utf-8").splitlines()
    return Phrases("abuse", (*(line for line in listed if not line.startswith("#")), *more))
