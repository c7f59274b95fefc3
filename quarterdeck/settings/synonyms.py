"""The file of synonyms: groups of words that mean the same in this company, by language and across languages."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from quarterdeck.core.text import has_cjk, terms
from quarterdeck.settings.sections import Section

__all__ = ["SynonymsFile"]

_LONGEST = 4  # words of an English phrase; longer ones are no name of anything and would never be found


def _word(word: str) -> str:
    if not terms(word):
        raise ValueError("there is no word in it")
    if not has_cjk(word) and len(terms(word)) > _LONGEST:
        raise ValueError(f"at most {_LONGEST} words stand for something")
    return word


def _latin(word: str) -> str:
    if has_cjk(word):
        raise ValueError("not an English word; groups of several languages stand under 'across'")
    return word


def _once(group: tuple[str, ...]) -> tuple[str, ...]:
    folded = [word.casefold() for word in group]
    if twice := next((word for word in group if folded.count(word.casefold()) > 1), None):
        raise ValueError(f"{twice!r} stands in it twice")
    return group


_Word: TypeAlias = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_word)]
_English: TypeAlias = Annotated[_Word, AfterValidator(_latin)]
_Group: TypeAlias = Annotated[tuple[_Word, ...], Field(min_length=2, max_length=20), AfterValidator(_once)]
_EnglishGroup: TypeAlias = Annotated[tuple[_English, ...], Field(min_length=2, max_length=20), AfterValidator(_once)]


class SynonymsFile(Section):
    """Groups of at least two words or phrases. A word may stand in several groups; they are not joined by it."""

    en: tuple[_EnglishGroup, ...] = Field((), max_length=5_000, description="English.")
    zh: tuple[_Group, ...] = Field((), max_length=5_000, description="Chinese, names in other letters among it.")
    across: tuple[_Group, ...] = Field((), max_length=5_000, description="Of several languages.")

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        return (*self.en, *self.zh, *self.across)
