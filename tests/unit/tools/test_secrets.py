"""A tool uses a secret; nothing that comes out of it holds one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quarterdeck.core.answers import Passage
from quarterdeck.core.errors import Forbidden
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.core.masking import MASK
from quarterdeck.core.messages import ToolCall, ToolResult
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.tools import Executor, Registry, tool
from quarterdeck.tools.secrets import with_secrets

from .test_executor import LABEL, context

pytestmark = pytest.mark.row("G5", part="secrets of tools")

CANARY = "CANARY/crm key&7d1e"


class Vault:
    """Gives one secret to one tool, and counts how often."""

    def __init__(self, tool: str) -> None:
        self.tool = tool
        self.reads = 0
        self.value = CANARY

    def names(self, tool: str) -> frozenset[str]:
        return frozenset({"crm"} if tool == self.tool else ())

    def read(self, name: str) -> str:
        self.reads += 1
        return self.value


async def execute(made: Tool, said: list[str] | None = None) -> ToolResult:
    async def emit(text: str) -> None:
        if said is not None:
            said.append(text)

    made = with_secrets(made, Vault(made.name))
    call = ToolCall(id="t1c1", name=made.name, args={})
    return await Executor(Registry([made])).run(call, made, replace(context(), emit=emit), label=LABEL)


async def test_a_tool_gets_the_value_at_each_call_and_its_words_are_freed_of_it() -> None:
    said: list[str] = []

    @tool(effect="read")
    async def look(ctx: ToolContext) -> dict[str, Any]:
        """Look."""
        await ctx.emit(f"asking with {ctx.secret('crm')}")
        return {"used": len(ctx.secret("crm")), "echo": [ctx.secret("crm")]}

    result = await execute(look, said)

    assert f'"used": {len(CANARY)}' in result.text
    assert "CANARY" not in result.text
    assert MASK in result.text
    assert said == [f"asking with {MASK}"]


@pytest.mark.parametrize("form", [CANARY, "CANARY%2Fcrm%20key%267d1e", "CANARY%2Fcrm+key%267d1e", f'{{"k": "{CANARY}"}}'])
async def test_an_error_with_the_secret_in_it_is_told_without(form: str) -> None:
    @tool(effect="read")
    async def fails(ctx: ToolContext) -> str:
        """Fail."""
        ctx.secret("crm")
        raise ConnectionError(f"GET https://crm.example/?key={form} answered 500")

    result = await execute(fails)

    assert result.error == "exception"
    assert "ConnectionError: GET https://crm.example" in result.text
    assert "CANARY" not in result.text


async def test_passages_are_freed_of_it_and_a_result_that_is_cut_holds_no_half_of_it() -> None:
    passage = Passage(id="p", doc_id="d", title=CANARY, text=f"it is {CANARY}", label=Label(readers=PUBLIC), end=5)

    @tool(effect="read")
    async def finds(ctx: ToolContext) -> list[Passage]:
        """Find."""
        ctx.secret("crm")
        return [passage]

    @tool(effect="read", max_output_chars=100)
    async def long(ctx: ToolContext) -> str:
        """Tell much."""
        return "x" * 90 + ctx.secret("crm") * 5

    found, cut = await execute(finds), await execute(long)

    assert [(each.title, each.text) for each in found.passages] == [(MASK, f"it is {MASK}")]
    assert cut.truncated
    assert "CANARY" not in cut.text


async def test_another_tool_may_not_have_it_and_one_without_secrets_is_left_as_it_is() -> None:
    @tool(effect="read")
    async def other(ctx: ToolContext) -> str:
        """Try."""
        return ctx.secret("crm")

    untouched = with_secrets(other, Vault("look"))

    result = await Executor(Registry([untouched])).run(
        ToolCall(id="t1c1", name="other", args={}), untouched, context(), label=LABEL
    )

    assert untouched is other
    assert "has no secret 'crm'" in result.text
    with pytest.raises(Forbidden):
        context().secret("crm")
