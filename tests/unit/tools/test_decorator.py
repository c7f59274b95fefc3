"""A function becomes a tool and stays a function; a declaration that contradicts itself is refused."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, SecretStr

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import InvalidArguments, Misconfigured
from quarterdeck.core.tools import Effect, Tool, ToolContext
from quarterdeck.tools import as_tool, tool

CTX = ToolContext(
    principal=Principal(user="anna", tenant="acme"), run_id="r", call_id="t1c1", idempotency_key="k", deadline=1e12
)


@tool(effect="read", risk="low", identity=("account_id",), scope="accounts.read", timeout_s=5, retries=2)
def balance(account_id: int, currency: str = "EUR") -> str:
    """Return the balance of an account.

    The balance is that of last night.

    Args:
        account_id: Number of the account,
            without its check digit.
        currency (str): Three letters.

    Returns:
        The balance.
    """
    return f"12.5 {currency} in {account_id}"


@pytest.mark.row("R5", part="decorator")
def test_a_decorated_function_is_a_tool_and_still_the_function() -> None:
    assert isinstance(balance, Tool)
    assert balance(7, currency="USD") == "12.5 USD in 7"
    assert balance.__name__ == "balance"
    assert list(inspect.signature(balance).parameters) == ["account_id", "currency"]


@pytest.mark.row("R5", part="decorator")
def test_declaration_and_docstring_become_the_tool() -> None:
    assert balance.name == "balance"
    assert balance.description == "Return the balance of an account.\n\nThe balance is that of last night."
    assert (balance.effect, balance.risk, balance.scope) == (Effect.READ, 1, "accounts.read")
    assert (balance.timeout_s, balance.retries, balance.identity_args) == (5, 2, ("account_id",))
    assert balance.input_schema == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "account_id": {"type": "integer", "description": "Number of the account, without its check digit."},
            "currency": {"type": "string", "default": "EUR", "description": "Three letters."},
        },
        "required": ["account_id"],
    }


def test_rest_docstrings_describe_parameters_too() -> None:
    @tool
    def move(source: str, target: str) -> None:
        """Move a file.

        :param source: Where it is,
            a path.
        :param str target: Where it goes.
        :returns: Nothing.
        """

    assert move.description == "Move a file."
    assert [each["description"] for each in move.input_schema["properties"].values()] == [
        "Where it is, a path.",
        "Where it goes.",
    ]


@pytest.mark.row("R5", part="decorator")
def test_what_is_not_declared_counts_as_a_write_of_risk_two() -> None:
    def bare(x: int) -> int:
        return x

    made = as_tool(bare)

    assert (made.effect, made.risk, made.trusted, made.idempotent, made.declared) == (Effect.WRITE, 2, False, False, False)
    assert tool(bare).declared
    assert as_tool(balance) is balance


@pytest.mark.parametrize(
    ("effect", "risk"), [("read", 0), ("read_egress", 1), ("write_local", 1), ("write", 2), ("write_egress", 2)]
)
def test_each_effect_has_its_usual_risk(effect: Any, risk: int) -> None:
    @tool(effect=effect)
    def act() -> None: ...

    assert act.risk == risk


async def test_local_types_named_by_later_annotations_are_found() -> None:
    @dataclass
    class Local:
        x: int

    @tool
    async def take(value: Local) -> int:
        return value.x

    assert await take.run(take.bind({"value": {"x": 3}}), CTX) == 3


async def test_methods_partials_and_callable_objects_become_tools() -> None:
    class Desk:
        def __init__(self) -> None:
            self.opened: list[str] = []

        def open_ticket(self, title: str) -> int:
            self.opened.append(title)
            return len(self.opened)

        async def __call__(self, title: str) -> str:
            return title.upper()

    def power(base: int, exponent: int) -> int:
        return int(base**exponent)

    desk = Desk()
    open_ticket = tool(effect="write", idempotent=True)(desk.open_ticket)
    square = tool(name="square", effect="read")(functools.partial(power, exponent=2))

    assert await open_ticket.run(open_ticket.bind({"title": "x"}), CTX) == 1
    assert await square.run(square.bind({"base": 3}), CTX) == 9
    assert await as_tool(desk).run({"title": "x"}, CTX) == "X"


async def test_the_context_is_handed_over_and_hidden() -> None:
    @tool
    async def who(greeting: str, ctx: ToolContext) -> str:
        return f"{greeting} {ctx.principal.user} {ctx.idempotency_key}"

    assert list(who.input_schema["properties"]) == ["greeting"]
    assert await who.run(who.bind({"greeting": "hi"}), CTX) == "hi anna k"
    with pytest.raises(InvalidArguments, match="ctx"):
        who.bind({"greeting": "hi", "ctx": {}})


async def test_sync_functions_run_beside_the_loop_unless_inline() -> None:
    @tool(effect="read")
    def beside() -> int:
        return threading.get_ident()

    @tool(effect="read", inline=True)
    def inline() -> int:
        return threading.get_ident()

    here = threading.get_ident()

    assert await beside.run({}, CTX) != here
    assert await inline.run({}, CTX) == here


async def test_generators_become_lists_and_endless_ones_end() -> None:
    @tool(effect="read", max_output_chars=100)
    def endless() -> Iterator[int]:
        while True:
            yield 1

    @tool(effect="read", max_output_chars=100)
    async def endless_async() -> AsyncIterator[str]:
        while True:
            yield "x" * 1000

    @tool(effect="read")
    async def three() -> AsyncIterator[int]:
        for i in range(3):
            yield i

    assert len(await endless.run({}, CTX)) <= 100
    assert len(await endless_async.run({}, CTX)) == 1
    assert await three.run({}, CTX) == [0, 1, 2]


def star(*values: int) -> None: ...
def double_star(**values: int) -> None: ...
def bare_parameter(value) -> None: ...  # type: ignore[no-untyped-def]
def unknown_type(value: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def callback(value: Callable[[], None]) -> None: ...
def no_schema(value: threading.Lock) -> None: ...
def secret(password: SecretStr) -> None: ...
def lookaround(value: Annotated[str, Field(pattern=r"(?<=a)b")]) -> None: ...
def plain(value: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "complaint"),
    [
        (star, {}, r"\*values"),
        (double_star, {}, r"\*\*values"),
        (bare_parameter, {}, "'value' needs a type annotation"),
        (unknown_type, {}, "Nowhere"),
        (callback, {}, "no JSON Schema"),
        (no_schema, {}, "no JSON Schema"),
        (secret, {}, "secret"),
        (lookaround, {}, "no JSON Schema"),
        (lambda: None, {}, "name"),
        (plain, {"name": "two words"}, "two words"),
        (plain, {"effect": "destroy"}, "destroy"),
        (plain, {"risk": 4}, "risk"),
        (plain, {"risk": "huge"}, "huge"),
        (plain, {"identity": ("who",)}, "who"),
        (plain, {"content": ("what",)}, "what"),
        (plain, {"key": ("which",)}, "key names which"),
        (plain, {"key": ("value",), "effect": "read"}, "only a write has a key"),
        (plain, {"identity": ("value",), "content": ("value",)}, "either"),
        (plain, {"timeout_s": 0}, "timeout_s"),
        (plain, {"timeout_s": float("inf")}, "finite"),
        (plain, {"timeout_s": float("nan")}, "finite"),
        (plain, {"timeout_s": True}, "timeout_s=True is bool"),
        (plain, {"idempotent": "no"}, "idempotent='no' is str"),
        (plain, {"identity": "value"}, "identity='value' is str"),
        (plain, {"retries": 1}, "read"),
        (plain, {"max_output_chars": 2 << 20}, "max_output_chars"),
        (plain, {"efect": "read"}, "efect"),
    ],
)
@pytest.mark.row("R5", part="decorator")
def test_a_declaration_that_cannot_be_kept_is_refused(
    function: Callable[..., Any], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(Misconfigured, match=complaint):
        tool(**options)(function)


class Transfer(BaseModel):
    iban: str
    amount: Annotated[float, Field(gt=0, le=2500)]


@tool
def transfer(order: Transfer, urgent: bool = False, copies: int = 1, tags: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Transfer money."""


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ({}, "order: is required"),
        ({"order": "x"}, "order: .*got 'x'"),
        ({"order": {"iban": "DE1", "amount": 9000}}, "order.amount: .*2500"),
        ({"order": {"iban": "DE1", "amount": "12"}}, "order.amount"),
        ({"order": {"iban": 5, "amount": 1}}, "order.iban"),
        ({"order": {"iban": "DE1", "amount": 1}, "urgent": 1}, "urgent"),
        ({"order": {"iban": "DE1", "amount": 1}, "urgent": "true"}, "urgent"),
        ({"order": {"iban": "DE1", "amount": 1}, "copies": "2"}, "copies"),
        ({"order": {"iban": "DE1", "amount": 1}, "copies": 1.5}, "copies"),
        ({"order": {"iban": "DE1", "amount": 1}, "copies": True}, "copies"),
        ({"order": {"iban": "DE1", "amount": 1}, "to": "me"}, "there is no such argument; the arguments are order, urgent"),
        ({"order": {"iban": "a\x00b", "amount": 1}}, "NUL"),
        ({"order": {"iban": "\ud800", "amount": 1}}, "hex escape"),
        ({"order": {"iban": "DE1", "amount": float("nan")}}, "finite"),
        ({"order": {"iban": "DE1", "amount": 10**5000}}, "digits"),
    ],
)
@pytest.mark.row("R5", part="validation")
def test_arguments_that_do_not_fit_are_explained(args: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidArguments, match=complaint) as refused:
        transfer.bind(args)

    assert len(str(refused.value)) < 1000


def test_too_deep_arguments_are_invalid_and_nothing_worse() -> None:
    @tool
    def keep(value: Any) -> None: ...

    value: list[Any] = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(InvalidArguments):
        keep.bind({"value": value})


def test_equal_calls_have_equal_arguments_in_every_process() -> None:
    one = transfer.bind({"tags": ["b", "a", "c"], "order": {"amount": 5.0, "iban": "DE1"}, "copies": 2.0})
    other = transfer.bind({"order": {"iban": "DE1", "amount": 5}, "copies": 2, "urgent": False, "tags": ["c", "b", "a"]})

    assert (
        one
        == other
        == {
            "order": {"iban": "DE1", "amount": 5.0},
            "urgent": False,
            "copies": 2,
            "tags": ["a", "b", "c"],
        }
    )
    program = (
        "from quarterdeck.tools import tool\n"
        "@tool\ndef f(tags: set[str]) -> None: ...\n"
        "print(f.bind({'tags': [str(i) for i in range(20)]}))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


async def test_a_default_that_breaks_its_own_rule_still_works() -> None:
    missing = object()

    @tool
    async def find(limit: Annotated[int, Field(ge=0)] = -1, after: Any = missing) -> tuple[int, bool]:
        return limit, after is missing

    assert find.bind({}) == {"limit": -1}
    assert await find.run(find.bind({}), CTX) == (-1, True)
