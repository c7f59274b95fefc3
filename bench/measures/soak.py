"""Thousands of runs over HTTP: memory that grows once the server is warm, and lines in its log that should not be there."""

from __future__ import annotations

import asyncio
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from bench.measure import Measure, absolute
from bench.measures.server import started

AT_ONCE = 16
GROWTH_BUDGET = 5.0  # per cent
QUESTIONS = (
    "How long does a VPN session last before I have to sign in again?",
    "未休的年假最多可以结转几天？",
    "What is the salary band for P4?",
    "Tell me about the weather on Mars.",
    "The printer on the third floor does not print. What can I do?",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Attributes: warm: How many of the runs only warm the server up."""

    runs: int = 10_000
    warm: int = 2_500


SHORT = Load(runs=2_400, warm=1_200)


async def measure(load: Load = Load()) -> list[Measure]:
    with tempfile.TemporaryDirectory() as data:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session,
            started(session, Path(data), LLM_MODE="local") as server,
        ):
            await _ask(session, server.url, load.warm)
            warm_mb = server.resident_mb()
            cpu_s = server.cpu_s()
            await _ask(session, server.url, load.runs - load.warm)
            cpu_ms = (server.cpu_s() - cpu_s) * 1e3 / (load.runs - load.warm)
            grown = (server.resident_mb() / warm_mb - 1) * 100
        told = [line for line in (Path(data) / "server.log").read_text().splitlines() if _bad(line)]
    return [
        absolute(
            f"memory growth over {load.runs:,} runs", grown, "%", budget=GROWTH_BUDGET,
            note=f"after {load.warm:,} of them, {warm_mb:.0f} MB; {cpu_ms:.1f} ms CPU per run, {AT_ONCE} at once",
        ),
        absolute(
            "warnings and tracebacks in its log", len(told), "lines", budget=0, note=told[0][:200] if told else "",
        ),
    ]  # fmt: skip


async def _ask(session: aiohttp.ClientSession, url: str, times: int) -> None:
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with turn, session.post(f"{url}/chat", json={"message": QUESTIONS[number % len(QUESTIONS)]}) as response:
            body = await response.read()
            assert response.status == 200, body

    async with asyncio.TaskGroup() as group:
        for number in range(times):
            group.create_task(one(number))


def _bad(line: str) -> bool:
    try:
        level = json.loads(line).get("level")
    except (ValueError, AttributeError):
        return "Traceback" in line
    return level in ("warning", "error", "critical")
