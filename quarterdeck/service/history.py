"""Earlier turns of a conversation as a client tells them. Nothing of it is believed only because it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden, InvalidInput
from quarterdeck.core.labels import Integrity, Label, Readers
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.runs import AgentSpec, ClientTool
from quarterdeck.policy.guards.markers import neutral
from quarterdeck.service.intake import cleaned

__all__ = ["Turn", "bringing", "told"]

WRITES_HISTORY = "history.write"
_CALLED = "For the next question this tool was called, and this came of it:\n"
_APPLICATION = "The application through which this person asks says:\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a client says was said before.

    Attributes:
        role: `system` for what the client would like the agent to be told; `tool` for what came of a tool of its own.
    """

    role: Role
    text: str


def told(principal: Principal, run_id: str, turns: Sequence[Turn]) -> tuple[Message, ...]:
    """The turns as messages of a run.

    They are untrusted like any text from outside, unless the principal answers for them with the scope ``history.write``.
    What a client says as `system` is heard as what its application says: it never stands among the agent's instructions.

    Raises:
        Forbidden: A turn is `system` and the principal lacks the scope.
        InvalidInput: A turn is empty.
    """
    answers_for_it = WRITES_HISTORY in principal.scopes
    if not answers_for_it and any(turn.role is Role.SYSTEM for turn in turns):
        raise Forbidden(f"messages with the role system or developer need the scope {WRITES_HISTORY}; leave them out")
    integrity = Integrity.TRUSTED if answers_for_it else Integrity.UNTRUSTED
    label = Label(integrity=integrity, readers=Readers.of(f"user:{principal.user}"), sources=(f"run:{run_id}",))
    return tuple(_message(turn, label) for turn in turns)


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


def _message(turn: Turn, label: Label) -> Message:
    text = neutral(cleaned(turn.text, f"an earlier {turn.role.value} message"))
    if turn.role is Role.TOOL:  # nobody answers for what a tool gives
        heard = replace(label, integrity=Integrity.UNTRUSTED)
        return Message(role=Role.USER, parts=(Text(text=_CALLED + text, label=heard),))
    if turn.role is Role.SYSTEM:
        return Message(role=Role.USER, parts=(Text(text=_APPLICATION + text, label=label),))
    return Message(role=turn.role, parts=(Text(text=text, label=label),))
