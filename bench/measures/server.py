"""The server as users start it: seconds until it is ready, memory when idle, CPU of a question.

Its provider is a little chat-completions server in another process: three model calls, and two searches between them, the
last of which gives an answer that cites what was found. Either every caller asks the same, and the searches are found again,
or each asks something new.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import aiohttp
import psutil

from bench.measure import Measure, absolute, relative
from bench.reference.chat_server import chat_server

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "support_desk"
STARTS = 3
QUESTIONS, BATCHES = 40, 5
READY_WITHIN_S = 60.0
READY_BUDGET_S, IDLE_BUDGET_MB, CHAT_BUDGET_MS, OVER_BARE = 2.0, 120.0, 4.0, 1.5
QUESTION = "How do I print a document in colour on a printer of the third floor?"
NEW = count(1)  # no question is asked twice

Command = Callable[[Path, int], Sequence[str]]  # data folder, port


def quarterdeck_command(data: Path, port: int) -> Sequence[str]:
    return (str(Path(sys.executable).with_name("quarterdeck")), "serve", str(EXAMPLE))


def bare_command(data: Path, port: int) -> Sequence[str]:
    return (sys.executable, "-m", "bench.reference.bare_route", str(EXAMPLE), str(data), str(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A server that answers, and how many seconds it took from the command to that."""

    url: str
    process: psutil.Process
    ready_s: float

    def cpu_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._all())

    def resident_mb(self) -> float:
        return sum(process.memory_info().rss for process in self._all()) / 1e6

    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


async def measure() -> list[Measure]:
    async with aiohttp.ClientSession() as session:
        first_s, later_s, idle_mb = await _starts(session)
        costs = await _questions(session)
    chat_ms, new_ms, bare_ms = (costs[name].cpu_ms for name in ("served", "new", "bare"))
    return [
        absolute("server ready", later_s, "s", budget=READY_BUDGET_S, note=f"index built; at first {first_s:.2f} s"),
        absolute("server idle memory", idle_mb, "MB RSS", budget=IDLE_BUDGET_MB),
        absolute(
            "POST /chat, 3 model calls + 2 searches", chat_ms, "ms CPU", budget=CHAT_BUDGET_MS,
            note=f"durable on SQLite, one question at a time; {costs['served'].wall_ms:.1f} ms until the answer",
        ),
        absolute(
            "POST /chat, a question nobody has asked", new_ms, "ms CPU",
            note=f"the same, and no search is found again; {costs['new'].wall_ms:.1f} ms until the answer",
        ),
        relative(
            "POST /chat over a bare route", chat_ms, "ms CPU", reference=bare_ms, budget=OVER_BARE,
            note="the same runs, journal and model calls behind one FastAPI route without guards, ids, logs or metrics",
        ),
    ]  # fmt: skip


async def _starts(session: aiohttp.ClientSession) -> tuple[float, float, float]:
    """Seconds of the first start, which indexes the articles, and of later ones; megabytes when idle."""
    with tempfile.TemporaryDirectory() as data:
        ready_s, idle_mb = [], []
        for _ in range(1 + STARTS):
            async with started(session, Path(data), LLM_MODE="local") as server:
                await asyncio.sleep(1.0)  # settle: idle is what is left after the start
                ready_s.append(server.ready_s)
                idle_mb.append(server.resident_mb())
    return ready_s[0], statistics.median(ready_s[1:]), statistics.median(idle_mb[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one question, in the median of the batches."""

    cpu_ms: float
    wall_ms: float


async def _questions(session: aiohttp.ClientSession) -> dict[str, Cost]:
    """What is asked again, what is new, and what is asked again behind a bare route; they take turns."""
    taken: dict[str, list[Cost]] = {"served": [], "new": [], "bare": []}
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as other:
        async with chat_server(tool_turns=2) as provider:
            environ = {"LLM_MODE": "remote", "OPENAI_BASE_URL": provider, "OPENAI_API_KEY": "none"}
            async with (
                started(session, Path(data), **environ) as served,
                started(session, Path(other), command=bare_command, **environ) as bare,
            ):
                servers = {"served": served, "new": served, "bare": bare}
                for batch in range(1 + BATCHES):
                    for name, server in servers.items():
                        cpu_s, begun = server.cpu_s(), time.monotonic()
                        await _ask(session, server, QUESTIONS, new=name == "new")
                        cpu_ms = (server.cpu_s() - cpu_s) * 1e3 / QUESTIONS
                        cost = Cost(cpu_ms=cpu_ms, wall_ms=(time.monotonic() - begun) * 1e3 / QUESTIONS)
                        if batch:  # the first one warms up
                            taken[name].append(cost)
    return {
        name: Cost(
            cpu_ms=statistics.median(cost.cpu_ms for cost in costs),
            wall_ms=statistics.median(cost.wall_ms for cost in costs),
        )
        for name, costs in taken.items()
    }


async def _ask(session: aiohttp.ClientSession, server: Started, times: int, *, new: bool = False) -> None:
    for _ in range(times):
        question = {"message": f"{QUESTION} {next(NEW)}" if new else QUESTION}
        async with session.post(f"{server.url}/chat", json=question) as response:
            body = await response.json()
            assert response.status == 200, body
            assert body["tool_calls"] == ["search_knowledge_base"] * 2, body
            assert body["sources"], body  # an answer without a source would be asked for again


@asynccontextmanager
async def started(
    session: aiohttp.ClientSession, data: Path, *, command: Command = quarterdeck_command, **environment: str
) -> AsyncIterator[Started]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    passed = {name: value for name in ("PATH", "HOME", "LANG") if (value := os.environ.get(name)) is not None}
    passed |= {"PORT": str(port), "QUARTERDECK_STORE__DATA": str(data), **environment}
    log = data / "server.log"
    with log.open("wb") as sink:
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(*command(data, port), cwd=ROOT, env=passed, stdout=sink, stderr=sink)
    try:
        url = f"http://127.0.0.1:{port}"
        while not await _ready(session, url):
            if process.returncode is not None or time.monotonic() - begun > READY_WITHIN_S:
                raise RuntimeError(f"the server did not start:\n{log.read_text()[-4000:]}")
            await asyncio.sleep(0.01)
        yield Started(url=url, process=psutil.Process(process.pid), ready_s=time.monotonic() - begun)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/ready") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False
