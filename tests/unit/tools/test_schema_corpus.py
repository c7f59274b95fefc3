"""Signatures as people write them: each gives a schema, and arguments that fit it reach the function as values."""

import enum
import functools
import inspect
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, HttpUrl
from typing_extensions import TypedDict  # on Python 3.11 pydantic reads only this one

from quarterdeck.core.context import Principal
from quarterdeck.core.tools import ToolContext
from quarterdeck.tools import as_tool

CTX = ToolContext(
    principal=Principal(user="anna", tenant="acme"), run_id="r", call_id="t1c1", idempotency_key="k", deadline=1e12
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Address:
    street: str
    zip_code: str
    country: str = "DE"


@dataclass(frozen=True)
class Order:
    items: list[str]
    address: Address
    tags: dict[str, str] = field(default_factory=dict)


class Person(BaseModel):
    name: str = Field(min_length=1, description="Full name.")
    age: int | None = None
    friends: list["Person"] = []


class Options(TypedDict):
    verbose: bool
    depth: NotRequired[int]


class Point(NamedTuple):
    x: float
    y: float


class Email(BaseModel):
    kind: Literal["email"] = "email"
    to: str


class Sms(BaseModel):
    kind: Literal["sms"] = "sms"
    number: str


def nothing() -> None: ...
def weather(city: str) -> None: ...
def add(a: int, b: int) -> None: ...
def scale(value: float, factor: float = 1.5) -> None: ...
def toggle(on: bool) -> None: ...
def search(query: str, limit: Annotated[int, Field(ge=1, le=50)] = 10) -> None: ...
def short(text: Annotated[str, Field(min_length=2, max_length=5)]) -> None: ...
def ticket(id: Annotated[str, Field(pattern=r"^T-[0-9]{4,}$")]) -> None: ...
def described(city: Annotated[str, "The city's name."]) -> None: ...
def optional(note: str | None = None) -> None: ...
def old_optional(note: Optional[str] = None) -> None: ...  # noqa: UP045 - people write it
def sloppy(limit: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013 - people write it
def required_optional(note: str | None) -> None: ...
def either(value: int | str) -> None: ...
def mode(mode: Literal["fast", "slow", 3]) -> None: ...
def paint(colour: Colour = Colour.RED) -> None: ...
def level(level: Level) -> None: ...
def many(names: list[str]) -> None: ...
def sequence(names: Sequence[int]) -> None: ...
def unique(names: set[str]) -> None: ...
def frozen(names: frozenset[int] = frozenset({1})) -> None: ...
def pair(point: tuple[int, str]) -> None: ...
def row(values: tuple[float, ...]) -> None: ...
def headers(headers: dict[str, str]) -> None: ...
def counts(counts: Mapping[str, int]) -> None: ...
def anything(payload: dict[str, Any]) -> None: ...
def free(value: Any) -> None: ...
def nested(matrix: list[list[int]]) -> None: ...
def ship(address: Address) -> None: ...
def order(order: Order) -> None: ...
def greet(person: Person) -> None: ...
def tune(options: Options) -> None: ...
def move(point: Point) -> None: ...
def notify(via: Annotated[Email | Sms, Field(discriminator="kind")]) -> None: ...
def people(people: list[Person], by_name: dict[str, Address]) -> None: ...
def on_day(day: date) -> None: ...
def at(when: datetime) -> None: ...
def clock(at: time) -> None: ...
def wait(duration: timedelta) -> None: ...
def pay(amount: Annotated[Decimal, Field(gt=0, le=2500, decimal_places=2)]) -> None: ...
def fetch(id: UUID) -> None: ...
def read(path: Path) -> None: ...
def open_page(url: HttpUrl) -> None: ...
def ping(host: ipaddress.IPv4Address) -> None: ...
def keyword_only(*, query: str, k: int = 3) -> None: ...
def positional_only(a: int, b: int, /, c: int) -> None: ...
def clashing(schema: str, json: str, copy: str, model_config: str, self_: int, _private: int) -> None: ...
def in_field(limit: int = Field(5, ge=1, description="How many.")) -> None: ...
def with_context(query: str, ctx: ToolContext) -> None: ...
def unicode(größe: int, 名前: str) -> None: ...  # noqa: N803 - a name as people write it
def forward(person: "Person") -> None: ...
def data(data: bytes) -> None: ...


CORPUS: list[tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = [
    (nothing, {}, {}),
    (weather, {"city": "Köln"}, {"city": "Köln"}),
    (add, {"a": 1, "b": 2.0}, {"a": 1, "b": 2}),
    (scale, {"value": 2}, {"value": 2.0, "factor": 1.5}),
    (toggle, {"on": True}, {"on": True}),
    (search, {"query": "x"}, {"query": "x", "limit": 10}),
    (short, {"text": "abc"}, {"text": "abc"}),
    (ticket, {"id": "T-1001"}, {"id": "T-1001"}),
    (described, {"city": "Rome"}, {"city": "Rome"}),
    (optional, {}, {"note": None}),
    (old_optional, {"note": "n"}, {"note": "n"}),
    (sloppy, {"limit": None}, {"limit": None}),
    (required_optional, {"note": None}, {"note": None}),
    (either, {"value": "7"}, {"value": "7"}),
    (mode, {"mode": 3}, {"mode": 3}),
    (paint, {"colour": "blue"}, {"colour": Colour.BLUE}),
    (level, {"level": 2}, {"level": Level.HIGH}),
    (many, {"names": ["a"]}, {"names": ["a"]}),
    (sequence, {"names": [1]}, {"names": [1]}),
    (unique, {"names": ["b", "a"]}, {"names": {"a", "b"}}),
    (frozen, {}, {"names": frozenset({1})}),
    (pair, {"point": [1, "a"]}, {"point": (1, "a")}),
    (row, {"values": [1, 2.5]}, {"values": (1.0, 2.5)}),
    (headers, {"headers": {"a": "b"}}, {"headers": {"a": "b"}}),
    (counts, {"counts": {"a": 1}}, {"counts": {"a": 1}}),
    (anything, {"payload": {"a": [1, None]}}, {"payload": {"a": [1, None]}}),
    (free, {"value": [1, "a"]}, {"value": [1, "a"]}),
    (nested, {"matrix": [[1], [2, 3]]}, {"matrix": [[1], [2, 3]]}),
    (ship, {"address": {"street": "A 1", "zip_code": "1"}}, {"address": Address("A 1", "1")}),
    (
        order,
        {"order": {"items": ["x"], "address": {"street": "A", "zip_code": "1"}}},
        {"order": Order(["x"], Address("A", "1"))},
    ),
    (greet, {"person": {"name": "A", "friends": [{"name": "B"}]}}, {"person": Person(name="A", friends=[Person(name="B")])}),
    (tune, {"options": {"verbose": True}}, {"options": {"verbose": True}}),
    (move, {"point": [1, 2]}, {"point": Point(1.0, 2.0)}),
    (notify, {"via": {"kind": "sms", "number": "1"}}, {"via": Sms(number="1")}),
    (
        people,
        {"people": [{"name": "A", "age": 3}], "by_name": {"A": {"street": "A", "zip_code": "1", "country": "CN"}}},
        {"people": [Person(name="A", age=3)], "by_name": {"A": Address("A", "1", "CN")}},
    ),
    (on_day, {"day": "2026-02-03"}, {"day": date(2026, 2, 3)}),
    (at, {"when": "2026-02-03T04:05:06"}, {"when": datetime(2026, 2, 3, 4, 5, 6)}),  # noqa: DTZ001 - as sent
    (clock, {"at": "04:05:06"}, {"at": time(4, 5, 6)}),
    (wait, {"duration": "PT90S"}, {"duration": timedelta(seconds=90)}),
    (pay, {"amount": 12.5}, {"amount": Decimal("12.5")}),
    (fetch, {"id": "8a52b5de-6d4b-4b3e-b1a6-0f9b1f0a5a11"}, {"id": UUID("8a52b5de-6d4b-4b3e-b1a6-0f9b1f0a5a11")}),
    (read, {"path": "a/b.txt"}, {"path": Path("a/b.txt")}),
    (open_page, {"url": "https://example.com/a"}, {"url": HttpUrl("https://example.com/a")}),
    (ping, {"host": "10.0.0.1"}, {"host": ipaddress.IPv4Address("10.0.0.1")}),
    (keyword_only, {"query": "q"}, {"query": "q", "k": 3}),
    (positional_only, {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "c": 3}),
    (
        clashing,
        {"schema": "a", "json": "b", "copy": "c", "model_config": "d", "self_": 1, "_private": 2},
        {"schema": "a", "json": "b", "copy": "c", "model_config": "d", "self_": 1, "_private": 2},
    ),
    (in_field, {}, {"limit": 5}),
    (with_context, {"query": "q"}, {"query": "q", "ctx": CTX}),
    (unicode, {"größe": 1, "名前": "x"}, {"größe": 1, "名前": "x"}),
    (forward, {"person": {"name": "A"}}, {"person": Person(name="A")}),
    (data, {"data": "abc"}, {"data": b"abc"}),
]

KEYWORDS = set(
    "$defs $ref additionalProperties anyOf const default description discriminator enum exclusiveMinimum format items "
    "maxItems maxLength maximum minItems minLength minimum oneOf pattern "
    "prefixItems properties required type uniqueItems".split()
)
TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}


def check_schema(node: Any, root: Mapping[str, Any]) -> None:
    """Structural rules of JSON Schema 2020-12 for the keywords in use."""
    assert isinstance(node, dict | bool)
    if isinstance(node, bool):
        return
    assert set(node) <= KEYWORDS, set(node) - KEYWORDS
    assert node.get("type", "object") in TYPES
    if reference := node.get("$ref"):
        assert reference.startswith("#/$defs/")
        assert reference.removeprefix("#/$defs/") in root["$defs"]
    for name in node.get("required", []):
        assert name in node["properties"]
    for key in ("properties", "$defs"):
        for child in node.get(key, {}).values():
            check_schema(child, root)
    for key in ("anyOf", "oneOf", "prefixItems"):
        for child in node.get(key, []):
            check_schema(child, root)
    for key in ("items", "additionalProperties"):
        if key in node:
            check_schema(node[key], root)


@pytest.mark.row("R5", part="schema")
@pytest.mark.parametrize(("function", "args", "values"), CORPUS, ids=[function.__name__ for function, _, _ in CORPUS])
async def test_a_real_signature_gives_a_schema_and_gets_its_values(
    function: Callable[..., Any], args: dict[str, Any], values: dict[str, Any]
) -> None:
    received: dict[str, Any] = {}
    tool = as_tool(recording(function, received))

    bound = tool.bind(args)
    await tool.run(bound, CTX)

    check_schema(tool.input_schema, tool.input_schema)
    assert tool.input_schema["type"] == "object"
    assert tool.input_schema["additionalProperties"] is False
    assert set(args) <= set(tool.input_schema["properties"])
    assert tool.bind(bound) == bound
    assert received == values
    assert {name: type(value) for name, value in received.items()} == {name: type(value) for name, value in values.items()}


def recording(function: Callable[..., Any], received: dict[str, Any]) -> Callable[..., Any]:
    """`function`, noting what it is called with."""

    @functools.wraps(function)
    async def record(*args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(function).bind(*args, **kwargs)
        received.update(bound.arguments)

    return record


def test_the_corpus_is_wide() -> None:
    assert len(CORPUS) >= 40
