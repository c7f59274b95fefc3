"""The process that is killed: the product's own loop, store and dispatcher, with tools that act on the world.

Run as ``python -m tests.chaos.worker ENGINE WORLD_PORT SABOTAGE``; it prints ``ready``. Sabotages are deliberately broken
variants, which the checker must find out: without them it would prove nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from quarterdeck.agent.base import Silence
from quarterdeck.agent.loop import Loop
from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Fenced
from quarterdeck.core.runs import AgentSpec
from quarterdeck.core.tools import Tool, ToolContext
from quarterdeck.policy.decide import Policy
from quarterdeck.store.around import JournalAround
from quarterdeck.store.base import Appended, Beside, Claim, Entry, Journal
from quarterdeck.store.suspects import SuspectsApart
from quarterdeck.tools.decorator import tool
from quarterdeck.tools.registry import Registry
from tests.chaos import engines
from tests.chaos.plan import SPEC, Clerk

TOOL_TIMEOUT_S = 2.0
GRACE_S = 0.2


class Outside:
    """The tools, each a call to the world."""

    def __init__(self, port: int, sabotage: str) -> None:
        self._port = port
        self._sabotage = sabotage
        self._late: set[asyncio.Task[None]] = set()

    async def _ask(self, op: str, ctx: ToolContext) -> str:
        key = ctx.idempotency_key
        if self._sabotage == "random-key":
            key = f"{key}:{random.random()}"
        asked = {"op": op, "run": ctx.run_id, "call": ctx.call_id, "key": key}
        if self._sabotage == "journal-first" and op != "read":
            late = asyncio.ensure_future(self._later(asked))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
            return "done"
        return await self._send(asked)

    async def _later(self, asked: dict[str, Any]) -> None:
        await asyncio.sleep(0.15)
        await self._send(asked)

    async def _send(self, asked: dict[str, Any]) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(json.dumps(asked).encode() + b"\n")
            reply = await reader.readline()
        finally:
            writer.close()
        if not reply:
            raise ConnectionError("the world does not answer")
        return reply.decode().strip()

    def tools(self) -> list[Tool]:
        @tool(effect="read", trusted=True, timeout_s=TOOL_TIMEOUT_S)
        async def read(page: int, ctx: ToolContext) -> str:
            """Read a page."""
            return await self._ask("read", ctx)

        @tool(effect="write", trusted=True, idempotent=True, timeout_s=TOOL_TIMEOUT_S)
        async def record(note: str, ctx: ToolContext) -> str:
            """Record a note in a system that deduplicates."""
            return await self._ask("keyed", ctx)

        @tool(effect="write", trusted=True, idempotent=True, needs_approval=True, timeout_s=TOOL_TIMEOUT_S)
        async def publish(note: str, ctx: ToolContext) -> str:
            """Publish a note in a system that deduplicates, if a person agrees."""
            return await self._ask("keyed", ctx)

        @tool(effect="write", trusted=True, timeout_s=TOOL_TIMEOUT_S)
        async def pay(note: str, ctx: ToolContext) -> str:
            """Pay in a system that does not deduplicate."""
            return await self._ask("pay", ctx)

        return [read, record, publish, pay]


class Forgetful:
    """Sabotage ``no-journal``: what a worker appends is kept in its memory until the run ends or waits."""

    def __init__(self, inner: Journal) -> None:
        self._inner = inner
        self._held: dict[str, tuple[list[Entry], list[Beside]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def append(
        self, claim: Claim, entries: Sequence[Entry], *, beside: Sequence[Beside] = (), **fields: Any
    ) -> Appended:
        held, rows = self._held.setdefault(claim.run_id, ([], []))
        held += entries
        rows += beside
        if fields.get("status") in (None, "running"):
            first = claim.head + len(held) - len(entries) + 1
            numbered = [replace(entry, seq=seq) for seq, entry in enumerate(entries, first)]
            return Appended(head=claim.head + len(held), foreign=False, entries=numbered)
        del self._held[claim.run_id]
        appended = await self._inner.append(claim, held, beside=rows, **{**fields, "folded": claim.head})
        return replace(appended, entries=appended.entries[len(appended.entries) - len(entries) :])


class Telling(JournalAround):
    """Says of every append that is refused because the run is another worker's by now: ``refused RUN EVENTS``."""

    async def append(self, claim: Claim, entries: Sequence[Entry], **fields: Any) -> Appended:
        try:
            return await super().append(claim, entries, **fields)
        except Fenced:
            print(f"refused {claim.run_id} {len(entries)}", flush=True)
            raise


class People:
    async def current(self, principal: Principal) -> Principal | None:
        return principal


class Specs:
    async def get(self, tenant: str, config_hash: str) -> AgentSpec:
        return SPEC


async def main(where: str, port: int, sabotage: str) -> None:
    registry = Registry(Outside(port, sabotage).tools())
    async with engines.store(where) as store:
        journal: Any = Forgetful(store.journal) if sabotage == "no-journal" else Telling(SuspectsApart(store.journal))
        loop = Loop(
            journal=journal,
            records=store.records,
            specs=Specs(),
            models=Clerk(),
            toolbox=registry,
            policy=Policy.default(registry.tools),
            directory=People(),
            audience=Silence(),
            doubt_grace_s=GRACE_S,
        )
        async with engines.dispatcher(where, journal) as dispatcher:
            print("ready", flush=True)
            await dispatcher.serve(loop.advance)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3])
