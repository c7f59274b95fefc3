"""A guard looks at a text and says what it found where; configuration says what is done about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from quarterdeck.core.context import Context
from quarterdeck.policy.grounding import Ground

__all__ = ["BLANK", "About", "Finding", "Guard", "Layer", "Ruling"]

Layer = Literal["input", "retrieval", "tool", "output"]

BLANK = "███"  # in place of what is taken out: no word that could be cited, and no mark of a language or of Markdown


class Ruling(StrEnum):
    """What is done about what a guard found, mildest first."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    ASK = "ask"
    BLOCK = "block"

    @property
    def severity(self) -> int:
        return list(Ruling).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a text.

    Attributes:
        rule: What it is, of few words that configuration names.
        start, end: Where, in characters.
        instead: What stands there when it is redacted.
    """

    rule: str
    start: int
    end: int
    instead: str = BLANK


def _nothing() -> Ground:
    return Ground(())


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a guard may know beside the text.

    Attributes:
        trusted: Makes the ground of what no outsider wrote: the user's words, instructions, trusted results. Called only
            where something was found that may stand in it.
        context: Of the run, for guards that ask somebody; None where nobody can be asked.
    """

    trusted: Callable[[], Ground] = field(default=_nothing)
    context: Context | None = None


class Guard(Protocol):
    """Looks at a text, by itself: what it found in another changes nothing."""

    @property
    def name(self) -> str:
        """What configuration calls it."""
        ...

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        """What it found, in any order; findings may overlap. One that cannot look finds nothing.

        Raises:
            QuarterdeckError: Only within `asked.Bounded`, which says what holds then.
        """
        ...
