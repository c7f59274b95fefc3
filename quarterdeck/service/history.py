"""Earlier turns of a conversation as a client tells them. Nothing of it is believed only because it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden, InvalidInput
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text, ToolCall
from quarterdeck.core.runs import AgentSpec, ClientTool
from quarterdeck.policy.guards.markers import neutral
from quarterdeck.service.intake import cleaned, visible

__all__ = ["Turn", "bringing", "told"]

WRITES_HISTORY = "history.write"
_APPLICATION = "The application through which this person asks says:\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a client says was said before.

    Attributes:
        role: `system` for what the client would like the agent to be told; `tool` for what came of a tool of its own.
        call: Of such a result the call that it answers; None of all others.
    """

    role: Role
    text: str
    call: ToolCall | None = None


def told(principal: Principal, run_id: str, turns: Sequence[Turn], place: str = "h") -> tuple[Message, ...]:
    """The turns as messages of a run; a result comes with its call, which gets an id of our own.

    They are untrusted like any text from outside, unless the principal answers for them with the scope ``history.write``.
    What a client says as `system` is heard as what its application says: it never stands among the agent's instructions.

    Args:
        place: Begins the ids of calls: one for each place in a run where turns stand.

    Raises:
        Forbidden: A turn is `system` and the principal lacks the scope.
        InvalidInput: A turn is empty.
    """
    answers_for_it = WRITES_HISTORY in principal.scopes
    if not answers_for_it and any(turn.role is Role.SYSTEM for turn in turns):
        raise Forbidden(f"messages with the role system or developer need the scope {WRITES_HISTORY}; leave them out")
    integrity = Integrity.TRUSTED if answers_for_it else Integrity.UNTRUSTED
    label = Label(integrity=integrity, readers=Readers.of(f"user:{principal.user}"), sources=(f"run:{run_id}",))
    return tuple(message for at, turn in enumerate(turns) for message in _messages(turn, label, f"{place}{at}"))


def bringing(principal: Principal, agent: AgentSpec, tools: Sequence[ClientTool]) -> AgentSpec:
    """The agent of one question that brings tools along.

    What they are called and do is told to the model as it was sent, so somebody has to answer for it.

    Raises:
        Forbidden: The principal lacks the scope ``history.write``.
        InvalidInput: Two tools have one name, or one that the agent has.
    """
    if not tools:
        return agent
    if WRITES_HISTORY not in principal.scopes:
        raise Forbidden(f"tools of a client need the scope {WRITES_HISTORY}; leave them out")
    names = [*agent.tools, *(tool.name for tool in tools)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidInput(f"two tools are called {twice[:64]!r}; give yours another name")
    return replace(agent, client_tools=tuple(tools), answer_cache=False)


def _messages(turn: Turn, label: Label, call_id: str) -> tuple[Message, ...]:
    if turn.call is not None:
        return _exchange(turn.call, turn.text, label, call_id)
    text = neutral(cleaned(turn.text, f"an earlier {turn.role.value} message"))
    if turn.role is Role.SYSTEM:
        return (Message(role=Role.USER, parts=(Text(text=_APPLICATION + text, label=label),)),)
    return (Message(role=turn.role, parts=(Text(text=text, label=label),)),)


def _exchange(call: ToolCall, output: str, label: Label, call_id: str) -> tuple[Message, Message]:
    """A call and its result, one behind the other as providers want them. A result may say nothing."""
    made = replace(call, id=call_id, args=_plain(call.args))
    said = Text(text=neutral(visible(output)), label=replace(label, integrity=Integrity.UNTRUSTED))  # nobody answers for it
    return (
        Message(role=Role.ASSISTANT, parts=(Text(text="", label=label),), tool_calls=(made,)),
        Message(role=Role.TOOL, parts=(said,), call_id=call_id),
    )


def _plain(value: Any) -> Any:
    """A JSON value whose texts hold nothing that a reader would not see or that only marks up a prompt."""
    if isinstance(value, str):
        return neutral(visible(value))
    if isinstance(value, dict):
        return {_plain(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
