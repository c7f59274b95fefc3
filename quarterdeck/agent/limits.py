"""When a run has had enough: turns, time, tokens, money, loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quarterdeck.agent.state import RunState
from quarterdeck.core.runs import Limits, StopReason

__all__ = ["LimitHit", "is_loop", "limit_hit"]

_UNKNOWN_TOOLS_IN_A_ROW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitHit:
    """A limit that was reached.

    Attributes:
        leaves_room: One last model call, without tools, is still affordable: turns and loops. Not so time, tokens and money.
    """

    reason: StopReason
    leaves_room: bool


def limit_hit(state: RunState, limits: Limits) -> LimitHit | None:
    """The first limit that `state` has reached, the hardest first."""
    spent = (
        (state.out_of_time or state.worked_s >= limits.max_total_time, StopReason.TIME_LIMIT, False),
        (limits.max_tokens is not None and state.usage.total_tokens >= limits.max_tokens, StopReason.TOKEN_LIMIT, False),
        (
            limits.max_cost_usd is not None and (state.usage.cost_usd or 0.0) >= limits.max_cost_usd,
            StopReason.COST_LIMIT,
            False,
        ),
        (is_loop(state.signatures, limits), StopReason.LOOP_DETECTED, True),
        (state.unknown_tools >= _UNKNOWN_TOOLS_IN_A_ROW, StopReason.UNKNOWN_TOOLS, True),
        (state.turn >= limits.max_turns, StopReason.TURN_LIMIT, True),
    )
    for hit, reason, leaves_room in spent:
        if hit:
            return LimitHit(reason=reason, leaves_room=leaves_room)
    return None


def is_loop(signatures: Sequence[str], limits: Limits) -> bool:
    """True if the last turn's calls and results stood often enough in the window, or a whole cycle was just repeated.

    A cycle is two or more turns, no longer than the window, that came twice in a row with the same results: A-B-A-B. The
    result is part of the signature, so that polling something that changes is no loop.
    """
    if not signatures:
        return False
    window = limits.loop_detection_window
    recent = signatures[-window:]
    if recent.count(signatures[-1]) >= limits.loop_detection_threshold:
        return True
    for length in range(2, min(window, len(signatures) // 2) + 1):
        if signatures[-length:] == signatures[-2 * length : -length]:
            return True
    return False
