"""Scripts: which reply follows which question. What no step matches is refused loudly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from inspect import iscoroutinefunction
from string import Template
from typing import Any, Literal

import orjson
from pydantic import with_config

from quarterdeck.devtools.simulator.base import Ask, Brain, Call, Finish, Reply, UsageOverride
from quarterdeck.devtools.simulator.faults import Fault
from quarterdeck.devtools.simulator.generate import generate
from quarterdeck.devtools.simulator.refusals import unmatched
from quarterdeck.devtools.simulator.strict import STRICT
from quarterdeck.devtools.simulator.timing import Timing
from quarterdeck.devtools.simulator.validity import problem
from quarterdeck.models.base import ToolSpec

__all__ = ["Calls", "Condition", "Function", "Script", "Step", "Wanted"]


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must be true of a question; all that is given must be, and what is not given does not matter.

    Attributes:
        message: Stands in the user's last message, in any case; `system` the same for the system message.
        turn: Which reply of the conversation this will be, from 1; `request` which request of the trace.
        result: Stands in a result that just came back; `after` is the tool it came from.
        header: Names → values, which may hold ``*``.
        model: A pattern with ``*``.
        offers: A tool the question must offer.
    """

    message: str | None = None
    system: str | None = None
    turn: int | None = None
    request: int | None = None
    result: str | None = None
    after: str | None = None
    header: Mapping[str, str] = field(default_factory=dict)
    model: str = "*"
    offers: str | None = None

    def holds(self, ask: Ask) -> bool:
        wants_results = self.after is not None or self.result is not None
        results = [turn for turn in ask.results if self.after in (None, turn.name)] if wants_results else []
        return (
            (self.message is None or self.message.lower() in ask.question.lower())
            and (self.system is None or any(self.system.lower() in t.text.lower() for t in ask.turns if t.role == "system"))
            and self.turn in (None, ask.turn)
            and self.request in (None, ask.number)
            and (self.after is None or bool(results))
            and (self.result is None or any(self.result.lower() in turn.text.lower() for turn in results))
            and all(fnmatchcase(ask.header(name), value) for name, value in self.header.items())
            and (self.model == "*" or fnmatchcase(ask.model, self.model))
            and (self.offers is None or any(tool.name == self.offers for tool in ask.tools))
        )


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A call to make.

    Attributes:
        arguments: A mapping; ``auto`` for values made from the tool's schema; any other text is sent as it is, JSON or not.
    """

    tool: str
    arguments: Mapping[str, Any] | str = "auto"
    id: str = ""


Calls = Sequence[Wanted]


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One reply of a script, and when it is given.

    Attributes:
        when: Without it, always.
        times: How often it may be used in a trace; None for any number.
        answer: Text; ``$message`` and ``$result`` stand for the user's last message and the last result.
        structured: A value for the schema the question asks for, or ``auto`` for one made from it.
        brain: Leaves the reply to another brain, by the name of a model: ``extractive``, ``sim-loop``.
        usage: Told in place of the counted tokens.
    """

    when: Condition = field(default_factory=Condition)
    times: int | None = None
    answer: str | None = None
    calls: Calls = ()
    structured: Any = None
    reasoning: str = ""
    refusal: str = ""
    finish: Finish | None = None
    usage: UsageOverride | None = None
    brain: str | None = None


Said = Reply | str | None
Function = Callable[[Ask], Said | Awaitable[Said]]
"""A step written in Python, ``async`` if it has to wait: a reply, a text, or None to leave the question to the next step."""


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Steps in order: the first that fits and is not used up answers.

    Attributes:
        models: Patterns of the models it answers for.
        otherwise: ``refuse`` what no step fits, or answer it like the ``extractive`` model.
        seed, timing, faults: For the whole simulator it is loaded into.
    """

    steps: Sequence[Step | Function] = ()
    models: Sequence[str] = ("*",)
    otherwise: Literal["refuse", "extractive"] = "refuse"
    seed: int | str | None = None
    timing: Timing | None = None
    faults: Sequence[Fault] = ()


class Scripted:
    """A brain that plays a script."""

    def __init__(self, script: Script, others: Callable[[str], Brain]) -> None:
        """Args: others: The brain of a model's name, for steps that leave the reply to it."""
        self._script = script
        self._others = others
        self._constants = [self._constant(step) if isinstance(step, Step) else None for step in script.steps]
        self._always = [isinstance(step, Step) and step.when == Condition() for step in script.steps]

    @property
    def never_waits(self) -> bool:
        """True if no step is a function that is declared to wait."""
        return not any(iscoroutinefunction(step) for step in self._script.steps)

    async def reply(self, ask: Ask) -> Reply:
        for index, step in enumerate(self._script.steps):
            if not isinstance(step, Step):
                made = step(ask)
                said = await made if isinstance(made, Awaitable) else made
                if said is not None:
                    return Reply(text=said) if isinstance(said, str) else said
            elif (self._always[index] or step.when.holds(ask)) and (
                step.times is None or self._left(index, step.times, ask)
            ):
                if step.brain is not None:
                    return await self._others(step.brain).reply(ask)
                return self._constants[index] or _made(step, ask)
        if self._script.otherwise == "extractive":
            return await self._others("extractive").reply(ask)
        raise unmatched(_told(ask, len(self._script.steps)))

    def _constant(self, step: Step) -> Reply | None:
        """The reply of a step that says the same whatever it is asked."""
        if step.answer is None or "$" in step.answer or step.calls or step.structured is not None or step.brain is not None:
            return None
        return _reply(step, step.answer, ())

    def _left(self, index: int, times: int, ask: Ask) -> bool:
        """Use a step that may be used only so often; False when it is used up."""
        # The script is kept beside its counts: another one made later could bear the id of one that is gone.
        _, used = ask.memory.setdefault(f"script-{id(self)}", (self, {}))
        if used.get(index, 0) >= times:
            return False
        used[index] = used.get(index, 0) + 1
        return True


def _told(ask: Ask, steps: int) -> str:
    last = ask.turns[-1]
    return (
        f"No step of the script ({steps} steps) answers request {ask.number}: model {ask.model!r}, turn {ask.turn}, "
        f"{len(ask.tools)} tools, last message from {last.role}: {last.text[:200]!r}"
    )


def _made(step: Step, ask: Ask) -> Reply:
    text = ""
    if step.structured is not None:
        text = _structured(step.structured, ask)
    elif step.answer is not None:
        results = ask.results
        text = Template(step.answer).safe_substitute(
            message=ask.question, result=results[-1].text if results else "", turn=ask.turn
        )
    return _reply(step, text, tuple(_call(wanted, ask) for wanted in step.calls))


def _reply(step: Step, text: str, calls: tuple[Call, ...]) -> Reply:
    return Reply(
        text=text,
        calls=calls,
        reasoning=step.reasoning,
        refusal=step.refusal,
        finish=step.finish or "stop",
        usage=step.usage,
    )


def _call(wanted: Wanted, ask: Ask) -> Call:
    arguments = wanted.arguments
    if arguments == "auto":
        arguments = generate(_tool(wanted.tool, ask).input_schema or {"type": "object"}, ask.dice.random)
    if isinstance(arguments, str):
        return Call(wanted.tool, arguments, wanted.id)
    return Call(wanted.tool, orjson.dumps(arguments).decode(), wanted.id)


def _tool(name: str, ask: Ask) -> ToolSpec:
    found = next((tool for tool in ask.tools if tool.name == name), None)
    if found is None:
        offered = ", ".join(tool.name for tool in ask.tools) or "none"
        raise unmatched(f"The script makes arguments for the tool {name!r}, but the request offers {offered}.")
    return found


def _structured(value: Any, ask: Ask) -> str:
    if ask.schema is None:
        if value == "auto":
            raise unmatched("The script says 'structured: auto', but the request asks for no schema.")
        return orjson.dumps(value).decode()
    if value == "auto":
        return orjson.dumps(generate(ask.schema, ask.dice.random)).decode()
    if wrong := problem(ask.schema, value):
        raise unmatched(f"The script's structured answer does not fit the schema the request asks for: {wrong}")
    return orjson.dumps(value).decode()
