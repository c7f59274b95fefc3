"""Structured replies of the simulated model are valid for the schema they were asked for, and filled by extraction."""

from __future__ import annotations

import enum
import json
from datetime import date
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from quarterdeck.core.messages import Message
from tests.unit.models.talk import PEOPLE, ask, called, user

LEAVE = {
    "id": "leave-1",
    "title": "Annual leave",
    "content": "Full-time staff have **30 days** of annual leave a year. Interns have 20 days.",
}


class Line(BaseModel):
    name: str
    quantity: int


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    order_id: str
    status: Literal["open", "shipped", "cancelled"]
    total: float
    paid: bool
    lines: list[Line]
    note: str | None = None
    ship_date: date | None


class Verdict(BaseModel):
    answer: str
    confidence: Literal["low", "medium", "high"]
    sources: list[str]
    tool_calls: list[str]
    needs_human_review: bool


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Person(BaseModel):
    name: str = Field(min_length=1)
    email: str = Field(pattern="^[^@]+@[^@]+$")


class Entitlement(BaseModel):
    days: int = Field(ge=0, le=366)
    kind: Literal["annual", "sick", "other"]
    reasoning: str = Field(min_length=5, max_length=80)


class Everything(BaseModel):
    """Required fields of every kind that nothing in the conversation speaks of."""

    text: str = Field(min_length=3, max_length=6)
    whole: int = Field(ge=5, le=9)
    below: int = Field(le=-2)
    share: float = Field(gt=0.5)
    flag: bool
    colour: Colour
    born: date
    names: list[str]
    pair: list[int] = Field(min_length=2)
    lines: list[Line] = Field(min_length=1)
    maybe: int | None
    line: Line
    kind: Literal["only"]


async def fill(schema: type[BaseModel], *messages: Message, **request: Any) -> Any:
    completion = await ask(*messages, output_schema=schema.model_json_schema(), **request)
    assert completion.finish_reason == "stop"
    return schema.model_validate_json(completion.text, strict=True)


async def test_data_of_a_tool_fills_the_fields_of_the_same_name() -> None:
    result = {
        "order_id": "O-77",
        "status": "shipped",
        "total": 99.5,
        "paid": True,
        "lines": [{"name": "pen", "quantity": 2}, {"name": "ink", "quantity": 1}],
    }

    order = await fill(Order, user("Show order O-77"), *called("get_order", result, order_id="O-77"))

    assert order == Order(**result, ship_date=None)


async def test_a_judged_answer_names_its_sources_and_is_never_surer_than_they_allow() -> None:
    question = user("How many days of annual leave do full-time staff have?")
    found = called("search_handbook", [LEAVE], query="q")
    nothing = (*called("search_handbook", [], query="q"), *called("search_handbook", [], id="t2c0", query="w"))

    sure = await fill(Verdict, question, *found, tools=PEOPLE[:1])
    unsure = await fill(Verdict, question, *nothing, tools=PEOPLE[:1])

    assert sure.answer.startswith("Full-time staff have 30 days of annual leave a year. [leave-1]")
    assert (sure.confidence, sure.sources, sure.tool_calls) == ("medium", ["leave-1"], ["search_handbook"])
    assert (unsure.confidence, unsure.sources, unsure.needs_human_review) == ("low", [], True)


async def test_numbers_and_listed_values_are_taken_from_the_passage() -> None:
    found = called("search_handbook", [LEAVE], query="q")

    entitlement = await fill(
        Entitlement, user("How many days of annual leave do full-time staff have?"), *found, tools=PEOPLE[:1]
    )

    assert (entitlement.days, entitlement.kind) == (30, "annual")


async def test_values_are_extracted_from_the_message_itself() -> None:
    person = await fill(Person, user("Please note our new contact Maria Lopez, maria.lopez@example.org."))

    assert person == Person(name="Maria Lopez", email="maria.lopez@example.org")


@pytest.mark.parametrize("said", ["What about it?", "你好", "The 14 red things cost 3.5 EUR on 2026-01-02.", ""])
async def test_what_nobody_spoke_of_gets_the_plainest_valid_value(said: str) -> None:
    completion = await ask(user(said), output_schema=Everything.model_json_schema())

    filled = Everything.model_validate_json(completion.text)
    assert filled.kind == "only"
    assert filled.below <= -2


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, str),
        ({"type": "integer"}, int),
        ({"type": "array", "items": {"type": "string"}}, list),
        ({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}, list),
        ({"type": "boolean"}, bool),
        ({}, str),
    ],
)
async def test_a_schema_need_not_be_an_object(schema: dict[str, Any], kind: type) -> None:
    completion = await ask(user("How many red things are there?"), output_schema=schema)

    assert isinstance(json.loads(completion.text), kind)


async def test_a_schema_that_contains_itself_comes_to_an_end() -> None:
    node = {"type": "object", "properties": {"left": {"$ref": "#/$defs/N"}, "right": {"$ref": "#/$defs/N"}}}
    node["required"] = ["left", "right"]

    completion = await ask(user("Build a tree"), output_schema={"$ref": "#/$defs/N", "$defs": {"N": node}})

    assert isinstance(json.loads(completion.text), dict)


async def test_tools_are_used_before_the_schema_is_filled() -> None:
    completion = await ask(
        user("How many days of annual leave do I have?"), tools=PEOPLE[:1], output_schema=Verdict.model_json_schema()
    )

    assert [call.name for call in completion.tool_calls] == ["search_handbook"]
    assert completion.text == ""
