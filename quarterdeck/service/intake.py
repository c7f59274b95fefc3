"""What a person typed, before it becomes part of a run."""

from __future__ import annotations

import logging
import re
import time
import unicodedata

from quarterdeck.agent.guarding import fired
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import ContextTooLarge, InvalidInput
from quarterdeck.core.events import GuardrailFired
from quarterdeck.core.runs import AgentSpec
from quarterdeck.models.tokens import count_tokens
from quarterdeck.policy.guards.base import About, Ruling
from quarterdeck.policy.guards.layers import Guards
from quarterdeck.store.base import Audit, Records

__all__ = ["Blocked", "accepted", "admitted", "check_fits", "cleaned", "looking", "visible"]

log = logging.getLogger(__name__)

_GUARDED_S = 30.0  # the longest that guards look at what somebody typed

# Control characters but tab and line ends; bidirectional controls, which show a text in another order than the model reads
# it; tag characters, which nobody sees.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
_NOTHING = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters by category, and drawn as nothing


class Blocked(InvalidInput):
    """A guard refuses a question. Attributes: rules: Those that say so."""

    def __init__(self, rules: tuple[str, ...]) -> None:
        super().__init__(f"the message was refused by a guard: {', '.join(rules)}")
        self.rules = rules


def visible(text: str) -> str:
    """`text` without characters that a reader cannot see and a model can."""
    return _HIDDEN.sub("", text)


def cleaned(text: str, what: str = "message") -> str:
    """What is `visible` of a text that has to say something.

    Raises:
        InvalidInput: Nothing visible is left.
    """
    kept = visible(text)
    if all(character in _BLANK or unicodedata.category(character) in _NOTHING for character in kept.lstrip()):
        raise InvalidInput(f"{what} is empty")
    return kept


def check_fits(text: str, agent: AgentSpec) -> None:
    """Refuse what no model call can take before anything is spent on it. Raises ContextTooLarge."""
    room = agent.limits.context_window
    if len(text) > room // 2 and (tokens := count_tokens(text)) > room:
        raise ContextTooLarge(f"the message has about {tokens} tokens and the agent's window {room}; send less")


async def accepted(text: str, agent: AgentSpec, guards: Guards, context: Context) -> tuple[str, tuple[GuardrailFired, ...]]:
    """What a run of `agent` begins with, and what its guards found in it.

    Args:
        context: Of whoever asks, for guards that ask somebody themselves.

    Raises:
        InvalidInput: Nothing visible is left. Blocked: a guard blocks it.
        ContextTooLarge: It fits no model call.
    """
    kept = cleaned(text)
    check_fits(kept, agent)
    checked = await guards.input.check(kept, About(context=context))
    if checked.ruling is Ruling.BLOCK:
        blocking = tuple(rule for rule, ruling in checked.rules if ruling is Ruling.BLOCK)
        log.warning("a message was refused by a guard", extra={"agent": agent.name, "rule": ", ".join(blocking)})
        raise Blocked(blocking)
    return checked.text, fired("input", checked)


def looking(principal: Principal, run_id: str, agent: str) -> Context:
    """For guards that look at what somebody typed, before it is part of a run."""
    return Context(principal=principal, run_id=run_id, deadline=time.monotonic() + _GUARDED_S, agent=agent)


async def admitted(
    text: str, agent: AgentSpec, guards: Guards, records: Records | None, context: Context, what: str = "question"
) -> tuple[str, tuple[GuardrailFired, ...]]:
    """See `accepted`. That a guard refused it is a row of the audit log, without a word of it.

    Args:
        records: Where that is written down; None for nowhere.
        what: It is to the run.
    """
    try:
        return await accepted(text, agent, guards, context)
    except Blocked as blocked:
        if records is not None:
            who = f"user:{context.principal.user}"
            how = f"deny:{','.join(f'guard:{rule}' for rule in blocked.rules)}"
            audit = Audit(
                actor=who, subject=who, action="decision", object=f"{context.run_id}:{what}:{agent.name}", decision=how
            )
            await records.write(context.principal.tenant, [audit])
        raise
