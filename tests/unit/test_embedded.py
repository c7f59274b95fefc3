"""The library face: an agent in the caller's process, in memory, without the server's packages."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest

import quarterdeck
from quarterdeck import Agent, Limits, tool
from quarterdeck.core.errors import InvalidInput, ModelUnavailable, NotFound
from quarterdeck.core.events import Delta, FinalAnswer
from quarterdeck.core.runs import StopReason
from quarterdeck.models.base import Emit, ModelRequest
from quarterdeck.policy.guards import ArgumentRule, Chain, Guards, Link, Ruling
from quarterdeck.policy.guards.patterns import Pattern
from tests.unit.agent.scene import LEE, Scripted, calls, says


@tool(effect="read")
def balance(account_id: int) -> float:
    """Return the balance of an account."""
    return 12.5


@tool(effect="write", needs_approval=True)
def transfer(account_id: int, amount: float) -> str:
    """Transfer money."""
    return f"{amount} to {account_id}"


@dataclass
class Weather:
    city: str
    degrees: int


@pytest.mark.row("R1", part="library")
async def test_an_agent_calls_tools_and_answers() -> None:
    agent = Agent(Scripted(calls(("balance", {"account_id": 7})), says("It holds 12.5.")), tools=[balance])

    result = await agent.run("How much is in account 7?")

    assert result.output == "It holds 12.5."
    assert result.answer.tool_calls == ("balance",)
    assert result.usage.total_tokens == 30
    assert result.stop_reason is StopReason.COMPLETED


def test_an_agent_runs_without_an_event_loop() -> None:
    agent = Agent(Scripted(says("Hello.")))

    assert agent.run_sync("Hi").output == "Hello."


@pytest.mark.row("R11", part="typed")
async def test_the_output_is_of_the_declared_type() -> None:
    agent = Agent(Scripted(says("warm"), says('```json\n{"city": "Bern", "degrees": 21}\n```')), output_type=Weather)

    result = await agent.run("Weather in Bern?")

    assert result.output == Weather(city="Bern", degrees=21)
    assert result.answer.text


async def test_the_next_question_knows_the_earlier_ones() -> None:
    model = Scripted(says("It holds 12.5."), says("Yes."))
    agent = Agent(model)

    first = await agent.run("How much is in account 7?")
    await agent.run("Is that all?", history=first.messages)

    assert [m.text for m in model.requests[1].messages][-3:] == [
        "How much is in account 7?",
        "It holds 12.5.",
        "Is that all?",
    ]


@pytest.mark.row("G1", part="library")
async def test_a_draft_waits_in_the_agent_until_it_is_decided() -> None:
    model = Scripted(calls(("transfer", {"account_id": 7, "amount": 5})), says("Transferred 5.0."))
    agent = Agent(model, tools=[transfer])

    waiting = await agent.run("Transfer 5 to account 7")
    result = await agent.decide(waiting.drafts[0].id, approved=True, principal=_approver())

    assert waiting.stop_reason is StopReason.AWAITING_APPROVAL
    assert waiting.answer.needs_human_review
    assert result.output == "Transferred 5.0."
    with pytest.raises(NotFound):
        await agent.decide(waiting.drafts[0].id, approved=True)


def _approver() -> quarterdeck.Principal:
    return quarterdeck.Principal(user="lee", tenant="local", roles=LEE.roles)


async def test_a_failed_run_raises_what_made_it_fail() -> None:
    agent = Agent(Scripted(ModelUnavailable("no answer from upstream", status=503)))

    with pytest.raises(ModelUnavailable, match="no answer"):
        await agent.run("Hi")


@pytest.mark.row("R10", part="library")
async def test_a_run_can_be_watched_to_its_end() -> None:
    class Streaming(Scripted):
        async def complete(self, request: ModelRequest, ctx: object, emit: Emit | None = None) -> object:  # type: ignore[override]
            assert emit is not None
            for piece in ("It ", "is ", "so."):
                await emit(Delta(kind="text", text=piece))
            return self.replies.pop(0)

    agent = Agent(Streaming(says("It is so.")))

    async with agent.run_stream("Is it?") as events:
        seen = [event async for event in events]

    assert "".join(e.text for e in seen if isinstance(e, Delta)) == "It is so."
    assert isinstance(seen[-1], FinalAnswer)


def _guard(ruling: Ruling) -> Link:
    return Link(guard=Pattern("own", "ORION"), ruling=ruling)


@pytest.mark.row("G6", part="library")
async def test_guards_look_at_prompts_results_and_answers_in_the_library_too() -> None:
    @tool(effect="read", trusted=True)
    def look(what: str) -> str:
        """Look."""
        return f"{what} is ORION"

    model = Scripted(calls(("look", {"what": "it"})), says("It is ORION."))
    redacts = Chain([_guard(Ruling.REDACT)])
    agent = Agent(model, tools=[look], guards=Guards(input=redacts, tool=redacts, output=redacts))

    result = await agent.run("Is it ORION?")

    assert result.output == "It is ███."
    assert [message.text for message in result.messages if message.role in ("user", "tool")] == [
        "Is it ███?",
        "it is ███",
    ]


@pytest.mark.row("G6", part="library")
async def test_a_guard_refuses_a_prompt_and_asks_about_arguments_in_the_library_too() -> None:
    refusing = Agent(Scripted(), guards=Guards(input=Chain([_guard(Ruling.BLOCK)])))
    asking = Agent(
        Scripted(calls(("balance", {"account_id": 7})), says("Done.")),
        tools=[balance],
        guards=Guards(arguments=(ArgumentRule(link=Link(guard=Pattern("own", "7"), ruling=Ruling.ASK)),)),
    )

    with pytest.raises(InvalidInput, match="own"):
        await refusing.run("Is it ORION?")
    result = await asking.run("How much is in account 7?")

    assert [draft.rule for draft in result.drafts] == ["guard:own"]


async def test_limits_hold_in_the_library_too() -> None:
    agent = Agent(
        Scripted(calls(("balance", {"account_id": 1})), says("Enough.")), tools=[balance], limits=Limits(max_turns=1)
    )

    result = await agent.run("Go on")

    assert result.stop_reason is StopReason.TURN_LIMIT


@pytest.mark.row("P3", part="library")
def test_the_ten_lines_of_the_documentation_work_as_written_without_a_key() -> None:
    program = """
import warnings
warnings.simplefilter("ignore")
from quarterdeck import Agent, tool

@tool(effect="read")
def balance(account_id: int) -> float:
    '''Return the balance of an account.'''
    return 12.5

agent = Agent("openai:gpt-5", tools=[balance], instructions="Be brief.")
result = agent.run_sync("How much is in account 7?")
print(result.output)
assert "12.5" in result.output
import sys
assert not {"fastapi", "uvicorn", "structlog", "typer", "yaml"} & set(sys.modules), sys.modules.keys()
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})

    assert run.returncode == 0, run.stderr
    assert "12.5" in run.stdout


@pytest.mark.row("G5", part="endorsement")
async def test_a_value_is_endorsed_and_the_run_goes_on() -> None:
    paid: list[str] = []

    @tool(effect="read")
    def mail() -> str:
        """Read the mail."""
        return "Pay DE02."

    @tool(effect="write", identity=("iban",), sink="nobody")
    def pay(iban: str) -> str:
        """Pay somebody."""
        paid.append(iban)
        return "paid"

    agent = Agent(Scripted(calls(("mail", {})), calls(("pay", {"iban": "DE02"})), says("Paid.")), tools=[mail, pay])
    waiting = await agent.run("Pay what the mail wants.")

    result = await agent.endorse(waiting.drafts[0].id, argument="iban", value="DE02", principal=_approver())

    assert (paid, result.output, result.drafts) == (["DE02"], "Paid.", ())
