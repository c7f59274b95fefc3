"""Rate limits by rule: which counters a request or a tool call is counted on, and what is said of one that is too many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import RateLimited
from quarterdeck.service.api_keys import key_of
from quarterdeck.store.limits import LimitState, Rate, Room, Want

__all__ = ["LimitRule", "RateLimits", "refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """How often something may be asked.

    Attributes:
        names: Users, ids of keys, tenants, routes or tools it is for; empty for all that no other rule of the scope names.
        by: Whose requests are counted together, of a route or a tool.
    """

    scope: Literal["user", "key", "tenant", "route", "tool"]
    rate: Rate
    names: tuple[str, ...] = ()
    by: Literal["user", "key", "tenant"] = "user"


class RateLimits:
    """Counts requests and tool calls by `rules`. A tenant's counters are its own: none can use up another's."""

    def __init__(self, rules: Sequence[LimitRule], state: LimitState) -> None:
        self._state = state
        # By scope and name, None for all others: how often, by whose requests are counted together and the counter's kind.
        # That is part of its name, so that rules of one thing with several windows or buckets count apart.
        self._rates: dict[tuple[str, str | None], dict[tuple[str, str], Rate]] = {}
        for rule in rules:
            rate, by = rule.rate, rule.by if rule.scope in ("route", "tool") else "all"
            kind = f"{rate.amount}/{rate.window_s:g}" + ("" if rate.burst is None else f"+{rate.burst}")
            for name in rule.names or (None,):
                self._rates.setdefault((rule.scope, name), {})[by, kind] = rate

    async def count(self, principal: Principal, route: str) -> Room | None:
        """Count a request; the room that is tightest, with `retry_after_s` if it may not be; None where no rule is.

        Args:
            route: The template of an HTTP route, or the name of a gRPC method.
        """
        subjects = (("user", principal.user), ("key", _key(principal)), ("tenant", principal.tenant), ("route", route))
        return await self._count(principal, subjects)

    async def check(self, principal: Principal, route: str) -> None:
        """Count a request. Raises RateLimited if it may not be."""
        room = await self.count(principal, route)
        if room is not None and room.retry_after_s:
            raise refusal(room)

    async def tool(self, principal: Principal, name: str) -> float:
        """`agent.base.ToolRates`: count a call of a tool; seconds until it may be made, 0 if it may be now."""
        room = await self._count(principal, (("tool", name),))
        return room.retry_after_s if room is not None else 0.0

    async def _count(self, principal: Principal, subjects: Sequence[tuple[str, str]]) -> Room | None:
        wants: list[Want] = []
        for scope, name in subjects:
            rates = self._rates.get((scope, name)) or self._rates.get((scope, None)) or {}
            wants += [Want(f"{scope}:{name}{_whose(principal, by)}:{kind}", rate) for (by, kind), rate in rates.items()]
        if not wants:
            return None
        rooms = await self._state.take(principal.tenant, wants)
        # Of several that refuse, whoever waits for the last to have room need not ask twice.
        return max(rooms, key=lambda room: (room.retry_after_s, -room.remaining)) if len(rooms) > 1 else rooms[0]


def _whose(principal: Principal, by: str) -> str:
    match by:
        case "user":
            return f":{principal.user}"
        case "key":
            return f":{_key(principal)}"
    return ""


def _key(principal: Principal) -> str:
    """The id of the API key somebody came with, whatever its text is now; ``user:ID`` of who came otherwise.

    No id has a colon, so that nobody is counted with a key that is called as he is.
    """
    return key_of(principal) or f"user:{principal.user}"


def refusal(room: Room) -> RateLimited:
    """The error of a request that was one too many."""
    wait_s = room.retry_after_s
    return RateLimited(f"too many requests; the next one is taken in {math.ceil(wait_s)} s", retry_after_s=wait_s)
