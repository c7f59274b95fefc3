"""One question to the model: what it is shown, and what its reply becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from quarterdeck.agent.base import Audience
from quarterdeck.agent.conversation import system_message
from quarterdeck.agent.guarding import Guarding
from quarterdeck.agent.state import RunState
from quarterdeck.core.context import Context
from quarterdeck.core.errors import Truncated
from quarterdeck.core.events import Delta, ModelReply
from quarterdeck.core.ids import canonical_json
from quarterdeck.core.labels import Label
from quarterdeck.core.messages import Message, Role, Text, ToolCall
from quarterdeck.core.runs import AgentSpec
from quarterdeck.models.base import Completion, Emit, Model, ModelRequest, ToolSpec

__all__ = ["ask", "request_for"]


def request_for(state: RunState, spec: AgentSpec, tools: Sequence[ToolSpec]) -> ModelRequest:
    """The request for the next turn. A closing run still shows its tools, as past calls refer to them, but forbids them."""
    closing = state.closing is not None
    system = system_message(spec, citing=bool(tools) or spec.retrieve == "always", closing=closing)
    return ModelRequest(
        messages=(system, *state.messages) if system.text else state.messages,
        tools=tuple(tools),
        tool_choice="none" if closing else "auto",
        output_schema=spec.output_schema,
        temperature=spec.temperature,
        max_tokens=spec.max_output_tokens,
        options=spec.options,
        question=state.words[-1] if state.words else "",
    )


async def ask(
    model: Model,
    state: RunState,
    spec: AgentSpec,
    tools: Sequence[ToolSpec],
    ctx: Context,
    audience: Audience,
    label: Label,
    seen: int,
    guarding: Guarding,
) -> ModelReply:
    """Ask for the next turn, streaming to whoever watches. Raises what the model raises.

    Args:
        label: Of what the model writes.
        seen: Seq of the last stored event that `state` knows of.
        guarding: Says which pieces may be passed on, and when.
    """
    turn = state.turn + 1
    watched = await audience.watched(ctx.principal.tenant, ctx.run_id)
    screen = guarding.screen(_emitter(audience, ctx, turn)) if watched else None
    completion = await model.complete(request_for(state, spec, tools), ctx, screen)
    if screen is not None:
        await screen.finish()
    if completion.finish_reason == "length" and completion.tool_calls:
        raise Truncated(f"{completion.model or model.name} reached its token limit inside a tool call")
    return _reply(completion, state, turn, label, seen)


def _emitter(audience: Audience, ctx: Context, turn: int) -> Emit:
    # Numbered here, whatever model made them: by a number left out, a follower knows that it missed a piece.
    numbers = count()

    async def emit(delta: Delta) -> None:
        await audience.delta(ctx.principal.tenant, ctx.run_id, replace(delta, turn=turn, n=next(numbers)))

    return emit


def _reply(completion: Completion, state: RunState, turn: int, label: Label, seen: int) -> ModelReply:
    """Calls get our own ids: a provider's may be missing, repeated or not fit for a key."""
    calls = () if state.closing is not None else completion.tool_calls
    text = Text(text=completion.text, label=label)
    return ModelReply(
        turn=turn,
        message=Message(
            role=Role.ASSISTANT,
            parts=(text, *(replace(item, label=label) for item in completion.opaque)),
            tool_calls=tuple(_storable(replace(call, id=f"t{turn}c{i}")) for i, call in enumerate(calls)),
        ),
        model=completion.model,
        usage=completion.usage,
        finish_reason=completion.finish_reason,
        route=completion.route,
        attempts=completion.attempts,
        seen=seen,
    )


def _storable(call: ToolCall) -> ToolCall:
    """The call, or what is left of one whose arguments no journal can hold: the model hears of it and may repair it."""
    try:
        canonical_json(call.args)
    except (ValueError, TypeError, RecursionError) as error:
        return ToolCall(id=call.id, name=call.name, malformed=f"they are no JSON: {error}")
    return call
