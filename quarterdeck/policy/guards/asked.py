"""Around guards that ask somebody else: what was asked is remembered, and nobody is waited for beyond a time."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.policy.guards.base import About, Finding, Guard

__all__ = ["Bounded", "Remembering"]

_MOST = 4096  # texts

log = logging.getLogger(__name__)


class Remembering:
    """What a guard found in a text is found again for a time without asking. A failure is not remembered.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, guard: Guard, *, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = guard
        self._ttl_s = ttl_s
        self._clock = clock
        self._found: OrderedDict[tuple[str, bytes], tuple[float, Sequence[Finding]]] = OrderedDict()

    @property
    def name(self) -> str:
        return self._guard.name

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        # Of each tenant apart: how fast an answer comes would tell one what another asked.
        tenant = "" if about.context is None else about.context.principal.tenant
        key = tenant, hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._found.get(key)
        if known is not None and self._clock() < known[0]:
            return known[1]
        found = await self._guard.find(text, about)
        self._found[key] = (self._clock() + self._ttl_s, found)
        self._found.move_to_end(key)
        while len(self._found) > _MOST:
            self._found.popitem(last=False)
        return found


class Bounded:
    """A guard that answers in time, and says what holds when it cannot.

    Args:
        closed: True: a text of which nothing was found out counts as one in which something was, under the rule
            ``NAME.unknown``. False: it passes.
    """

    def __init__(self, guard: Guard, *, timeout_s: float, closed: bool) -> None:
        self._guard = guard
        self._timeout_s = timeout_s
        self._closed = closed

    @property
    def name(self) -> str:
        return self._guard.name

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        context = about.context
        if context is not None:
            context = replace(context, deadline=min(context.deadline, time.monotonic() + self._timeout_s))
        why = "it did not answer in time"
        with anyio.move_on_after(self._timeout_s):
            try:
                return await self._guard.find(text, replace(about, context=context))
            except QuarterdeckError as error:
                why = str(error)
        log.warning("a guard could not look at a text: %s", why, extra={"guard": self.name, "counts_as_found": self._closed})
        return [Finding(f"{self.name}.unknown", 0, len(text))] if self._closed else ()
