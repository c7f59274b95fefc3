"""A type with bounded fields says what is taken out of a text; one with others is refused where it is declared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.extraction import Extraction, Slot
from quarterdeck.policy import Policy
from quarterdeck.tools import tool
from quarterdeck.tools.values import values_of

pytestmark = pytest.mark.row("G5", part="extraction")


class Kind(StrEnum):
    VISIT = "visit"
    CALL = "call"


class Wish(BaseModel):
    """What does the mail ask for?"""

    urgent: bool
    kind: Kind
    when: date | None = Field(None, description="Of the meeting.")
    people: Annotated[int, Field(gt=0, le=50)]
    hours: Annotated[float, Field(ge=0, le=8)]
    way: Literal["train", "car"]
    order: Annotated[str, Field(pattern="ORD-[0-9]+")]
    place: Annotated[str, Field(max_length=20)]


def test_fields_of_a_model_become_values_and_its_docstring_the_question() -> None:
    found = values_of(Wish, "read_mail")

    assert found.question == "What does the mail ask for?"
    assert found.slots == {
        "urgent": Slot(kind="boolean"),
        "kind": Slot(kind="choice", one_of=("visit", "call")),
        "when": Slot(kind="date", description="Of the meeting."),
        "people": Slot(kind="integer", minimum=1, maximum=50),
        "hours": Slot(kind="number", minimum=0, maximum=8),
        "way": Slot(kind="choice", one_of=("train", "car")),
        "order": Slot(kind="id", pattern="ORD-[0-9]+"),
        "place": Slot(kind="text", max_chars=20),
    }


def test_a_dataclass_without_a_docstring_asks_no_question() -> None:
    @dataclass
    class Plain:
        urgent: bool

    assert values_of(Plain, "read_mail") == Extraction(slots={"urgent": Slot(kind="boolean")})


@pytest.mark.parametrize("wrong", [str, int, list[str], float | None, dict[str, bool]])
def test_a_field_without_limits_is_refused(wrong: Any) -> None:
    class Loose(BaseModel):
        field: wrong

    with pytest.raises(Misconfigured, match=r"tool read_mail: extract\.field"):
        values_of(Loose, "read_mail")


def test_values_are_taken_out_of_reads_only_and_ground_nothing() -> None:
    @tool(effect="write", extract=Wish)
    def send() -> str:
        """Send."""
        return ""

    @tool(effect="read", resolver=True, extract=Wish)
    def look() -> str:
        """Look."""
        return ""

    with pytest.raises(Misconfigured, match="send is a write"):
        Policy.default([send])
    policy = Policy.default([look])
    assert policy.extraction(look) is look.extraction
    assert not policy.resolves(look)
    assert policy.resolved(look, "bob@corp.example").texts == ()
