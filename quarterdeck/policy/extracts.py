"""What a policy file says is taken out of the results of a tool, in place of showing them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.extraction import Extraction, Slot, SlotKind
from quarterdeck.core.tools import Effect, Tool
from quarterdeck.policy.guards.patterns import compiled

__all__ = ["Extract", "check_extraction", "extraction_of"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: SlotKind
    min: float | None = None
    max: float | None = None
    digits: int = 2
    earliest: str | None = None
    latest: str | None = None
    one_of: list[str] = []
    pattern: str = ""
    max_chars: int = 64
    description: Annotated[str, Field(max_length=400)] = ""

    @property
    def slot(self) -> Slot:
        """Raises Misconfigured."""
        return Slot(
            kind=self.kind,
            minimum=self.min,
            maximum=self.max,
            digits=self.digits,
            earliest=self.earliest,
            latest=self.latest,
            one_of=tuple(self.one_of),
            pattern=self.pattern,
            max_chars=self.max_chars,
            description=self.description,
        )


class Extract(BaseModel):
    """`extract` of a tool's entry."""

    model_config = ConfigDict(extra="forbid")

    values: dict[Name, _Value]
    question: Annotated[str, Field(max_length=2000)] = ""


def extraction_of(written: Extract, tool: Tool, effect: Effect) -> Extraction:
    """What is written, checked. Raises Misconfigured."""
    slots: dict[str, Slot] = {}
    for name, value in written.values.items():
        try:
            slots[name] = value.slot
        except Misconfigured as error:
            raise Misconfigured(f"{name}: {error}") from error
    made = Extraction(slots=slots, question=written.question)
    check_extraction(made, tool, effect)
    return made


def check_extraction(extraction: Extraction, tool: Tool, effect: Effect) -> None:
    """Raises Misconfigured for a pattern that is none, and for a write: should the reading fail, it would have happened."""
    for name, slot in extraction.slots.items():
        if slot.pattern:
            try:
                compiled(slot.pattern)
            except Misconfigured as error:
                raise Misconfigured(f"{name}: {error}") from error
    if effect not in (Effect.READ, Effect.READ_EGRESS):
        raise Misconfigured(f"{tool.name} is a {effect}; values are taken out of the results of reads only")
