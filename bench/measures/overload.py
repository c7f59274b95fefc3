"""A server under more than it can serve: what is accepted stays quick, the rest is refused at once, nobody is starved.

One worker advances `PLACES` runs at once, and a model takes `WAIT_S` for each, so that it serves `PLACES / WAIT_S` a second
whatever the machine; requests come at fixed times, whether or not earlier ones were answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from bench.measure import Measure, absolute, at_least, relative
from bench.reference.slow_server import slow_server

PLACES, WAIT_S = 20, 1.0
CAPACITY = PLACES / WAIT_S
SETTLE_S, OVERLOAD_S, QUIET_S = 8.0, 18.0, 7.0
READERS, PIECES = 30, 8_000
STALL_S = 30.0
KEYS = {name: f"qd_{name * 8}" for name in ("noisy", "quiet")}
QUESTION = {"message": f"Where is the printer? wait={WAIT_S}"}


@dataclass(frozen=True, slots=True)
class Reply:
    """Attributes: at: Seconds since the load began when it was sent."""

    at: float
    status: int
    took_s: float
    retry_after: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A server, the provider behind it, and a way to both."""

    url: str
    provider: str
    process: psutil.Process
    session: aiohttp.ClientSession

    async def ask(self, name: str, body: dict[str, Any], began: float, **headers: str) -> Reply:
        sent = time.monotonic()
        told = {"Authorization": f"Bearer {KEYS[name]}", **headers}
        async with self.session.post(f"{self.url}/chat", json=body, headers=told) as answer:
            await answer.read()
            took_s = time.monotonic() - sent
            return Reply(sent - began, answer.status, took_s, "Retry-After" in answer.headers)

    async def load(self, name: str, rate: float, seconds: float, **headers: str) -> list[Reply]:
        """Ask `rate` times a second, and wait for the last answer."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            asked = []
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                asked.append(tasks.create_task(self.ask(name, QUESTION, began, **headers)))
        return [task.result() for task in asked]

    async def peak(self, seconds: float) -> float:
        """Answers a second where each of as many callers as there are places asks again as soon as it is answered."""
        began = time.monotonic()

        async def caller() -> list[Reply]:
            answers: list[Reply] = []
            while time.monotonic() < began + seconds:
                answers.append(await self.ask("noisy", QUESTION, began))
            return answers

        callers = await asyncio.gather(*(caller() for _ in range(PLACES)))
        return _per_second([reply for answers in callers for reply in answers], 2 * WAIT_S, seconds)

    async def seen(self) -> Any:
        async with self.session.get(f"{self.provider}/seen") as answer:
            return await answer.json()


async def measure() -> list[Measure]:
    async with slow_server() as provider, _served(provider) as stage:
        alone = await stage.load("quiet", 4, QUIET_S)
        usual_s = _p99(alone)
        return [
            *await _overloaded(stage, usual_s),
            *await _noisy(stage, usual_s),
            *await _lanes(stage),
            *await _too_late(stage),
            *await _left(stage),
            *await _slow_readers(stage),
        ]


async def _overloaded(stage: Stage, usual_s: float) -> list[Measure]:
    peak = await stage.peak(QUIET_S)
    replies = await stage.load("noisy", 3 * CAPACITY, OVERLOAD_S)
    late = [reply for reply in replies if reply.at >= SETTLE_S]
    served = [reply for reply in late if reply.status == 200]
    refused = [reply for reply in late if reply.status == 429]
    share = 100 * _per_second(replies, SETTLE_S, OVERLOAD_S) / peak
    other = len(replies) - sum(reply.status in (200, 429) for reply in replies)
    told = sum(reply.retry_after for reply in refused)
    return [
        at_least("9 goodput at 3 x capacity", share, "%", budget=90, note=f"of {peak:.1f}/s; {other} other answers"),
        relative("9 p99 of accepted", _p99(served), "s", reference=usual_s, budget=2, note="reference: without a crowd"),
        absolute(
            "9 median time to refuse", _median_ms(refused), "ms", budget=10,
            note=f"p99 {_p99(refused) * 1e3:.0f} ms; {told} of {len(refused)} with Retry-After; as its client sees it",
        ),
    ]  # fmt: skip


async def _noisy(stage: Stage, usual_s: float) -> list[Measure]:
    async with asyncio.TaskGroup() as tasks:
        noisy = tasks.create_task(stage.load("noisy", 10 * CAPACITY / 2, QUIET_S + 2))
        await asyncio.sleep(1.0)
        quiet = tasks.create_task(stage.load("quiet", 4, QUIET_S))
    refused = sum(reply.status == 429 for reply in quiet.result())
    served = [reply for reply in quiet.result() if reply.status == 200]
    away = sum(reply.status == 429 for reply in noisy.result())
    return [
        relative(
            "10 p99 of a quiet tenant", _p99(served), "s", reference=usual_s, budget=1.2,
            note=f"beside one at ten times its share, of which {away} of {len(noisy.result())} were sent away",
        ),
        absolute("10 quiet tenant sent away", refused, "requests", budget=0, note=f"of {len(quiet.result())}"),
    ]  # fmt: skip


async def _lanes(stage: Stage) -> list[Measure]:
    async with asyncio.TaskGroup() as tasks:
        batch = tasks.create_task(stage.load("noisy", 3 * CAPACITY, QUIET_S, **{"X-Lane": "batch"}))
        await asyncio.sleep(0.5)
        people = tasks.create_task(stage.load("noisy", 4, QUIET_S - 1))
    good = sum(reply.status == 200 for reply in people.result())
    shed = sum(reply.status == 429 for reply in batch.result())
    share = 100 * good / len(people.result())
    note = f"of one tenant; {shed} of its {len(batch.result())} batch requests were sent away"
    return [at_least("11 people served beside a batch", share, "%", budget=99, note=note)]


async def _too_late(stage: Stage) -> list[Measure]:
    """More than all places are taken for 3 s; what comes then has half a second."""
    before = (await stage.seen())["asked"]
    long = {"message": "Where is the printer? wait=3"}
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(PLACES):
            tasks.create_task(stage.ask("noisy", long, began))
        await asyncio.sleep(1.0)
        hurried = [
            tasks.create_task(stage.ask("noisy", QUESTION, began, **{"X-Request-Timeout-Ms": "500"})) for _ in range(5)
        ]
    replies = [task.result() for task in hurried]
    begun = (await stage.seen())["asked"] - before - PLACES
    slack = max(abs(reply.took_s - 0.5) for reply in replies)
    late = sum(reply.status == 504 for reply in replies)
    return [
        absolute(
            "12 runs begun past their deadline", begun, "runs", budget=0, note=f"{late} of {len(replies)} were told 504"
        ),
        absolute("1 deadline missed by", slack * 1e3, "ms", budget=250, note="of requests that waited for a worker"),
    ]


async def _left(stage: Stage) -> list[Measure]:
    """Callers who hang up after a second of a run of five."""
    closed_ms, cancelled = [], {"cancel": 0, "detach": 0}
    for how in ("cancel", "detach"):
        for _ in range(3):
            before = await stage.seen()
            left_at, run_id = await _hang_up(stage, how)
            if how == "cancel":
                while len((now := await stage.seen())["closed"]) == len(before["closed"]):
                    if time.monotonic() > left_at + 10:
                        raise RuntimeError("the model call of a caller that left was not cut within 10 s")
                    await asyncio.sleep(0.02)
                closed_ms.append((now["closed"][-1] - left_at) * 1e3)
            cancelled[how] += (await _ended(stage, run_id)) == "cancelled"
    return [
        absolute("18 model call cut after the caller left", max(closed_ms), "ms", budget=500, note="on_disconnect=cancel"),
        absolute("18 detached runs that did not complete", cancelled["detach"], "runs", budget=0, note="of 3"),
    ]


async def _hang_up(stage: Stage, how: str) -> tuple[float, str]:
    """When the connection was closed, and the run that was begun over it."""
    reader, writer = await _posted(stage, f"/api/v1/agent/stream?on_disconnect={how}", {"query": "Where? wait=3"}, "quiet")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    found = re.search(rb"(?i)x-run-id: (\S+)", head)
    assert found is not None, head
    await asyncio.sleep(1.0)
    writer.close()
    return time.monotonic(), found[1].decode()


async def _ended(stage: Stage, run_id: str) -> str:
    """The status a run ends with."""
    until = time.monotonic() + 20
    while True:
        headers = {"Authorization": f"Bearer {KEYS['quiet']}"}
        async with stage.session.get(f"{stage.url}/api/v1/runs/{run_id}", headers=headers) as answer:
            status = str((await answer.json())["status"])
        if status in ("done", "failed", "cancelled"):
            return status
        if time.monotonic() > until:
            raise RuntimeError(f"run {run_id} is {status} after 20 s")
        await asyncio.sleep(0.05)


async def _slow_readers(stage: Stage) -> list[Measure]:
    """Readers who take nothing of long answers, and others meanwhile."""
    asked = {"query": f"Where? pieces={PIECES}"}
    warming = [await _posted(stage, "/api/v1/agent/stream", asked, "noisy") for _ in range(READERS)]
    await asyncio.gather(*(_read(reader) for reader, _ in warming))  # what such runs leave behind is no cost of slow readers
    for _, writer in warming:
        writer.close()
    before_b = stage.process.memory_info().rss
    usual_s = _p99(await stage.load("quiet", 4, 4))
    readers = [await _posted(stage, "/api/v1/agent/stream", asked, "noisy", small=True) for _ in range(READERS)]
    opened = time.monotonic()
    await asyncio.sleep(3.0)  # the runs go on without their readers: wait until they have ended
    while stage.process.cpu_percent(0.5) > 25 and time.monotonic() < opened + STALL_S - QUIET_S:
        await asyncio.sleep(0.1)
    beside = await stage.load("quiet", 4, QUIET_S)
    each_kb = (stage.process.memory_info().rss - before_b) / READERS / 1024
    await asyncio.sleep(max(0.0, opened + STALL_S + 10 - time.monotonic()))
    connections = [one for one in stage.process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
    still = sum(one.laddr.port == int(stage.url.rsplit(":", 1)[1]) for one in connections) - _pooled(stage)
    for _, writer in readers:
        writer.transport.abort()
    return [
        absolute("17 memory of a stream nobody reads", each_kb, "KiB", budget=256, note=f"{READERS} of them"),
        relative("17 p99 of others", _p99(beside), "s", reference=usual_s, budget=1.2, note="reference: before them"),
        absolute("17 streams that were not cut", max(0, still), "streams", budget=0, note=f"{STALL_S + 10:g} s later"),
    ]


async def _read(reader: asyncio.StreamReader) -> None:
    """All that comes, up to the mark of the end."""
    tail = b""
    async with asyncio.timeout(60):
        while b"[DONE]" not in tail and (piece := await reader.read(65_536)):
            tail = tail[-16:] + piece


def _pooled(stage: Stage) -> int:
    """Connections that this process keeps open for its next requests."""
    port = int(stage.url.rsplit(":", 1)[1])
    mine = [one for one in psutil.Process().net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
    return sum(bool(one.raddr) and one.raddr.port == port for one in mine)


async def _posted(
    stage: Stage, path: str, body: dict[str, Any], name: str, *, small: bool = False
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection over which a question was sent; `small` for one that takes next to nothing of the answer."""
    connection = socket.socket()
    if small:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    port = int(stage.url.rsplit(":", 1)[1])
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=1024)
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {KEYS[name]}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    writer.write(head.encode() + data)
    await writer.drain()
    return reader, writer


@asynccontextmanager
async def _served(provider: str) -> AsyncIterator[Stage]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_folder(folder, provider)
        passed = {key: value for key in ("PATH", "HOME", "LANG") if (value := os.environ.get(key)) is not None}
        command = [str(Path(sys.executable).with_name("quarterdeck")), "serve", str(folder), "--port", "0", "--json"]
        with (folder / "server.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(*command, env=passed, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        try:
            line = await process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server did not start:\n{(folder / 'server.log').read_text()[-4000:]}")
            unbounded = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=unbounded, timeout=aiohttp.ClientTimeout(total=60)) as session:
                url = str(json.loads(line)["url"])
                yield Stage(url=url, provider=provider, process=psutil.Process(process.pid), session=session)
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


def _write_folder(folder: Path, provider: str) -> None:
    settings = {
        "models": {
            "default": "openai:slow",
            "mode": "remote",
            "providers": {"openai": {"base_url": f"{provider}/v1", "api_key": "none"}},
        },
        "worker": {"concurrency": PLACES},
        "limits": {"load": {"max_runs": 5 * PLACES, "min_runs": PLACES}},
        "store": {"data": str(folder / "data")},
        "log": {"level": "warning"},
    }
    users = [
        {
            "id": name,
            "tenant": name,
            "scopes": ["chat"],
            "key": f"sha256:{hashlib.sha256(key.encode()).hexdigest()}",
        }
        for name, key in KEYS.items()
    ]
    (folder / "agents").mkdir()
    # JSON is YAML.
    (folder / "quarterdeck.yaml").write_text(json.dumps(settings))
    (folder / "users.yaml").write_text(json.dumps({"users": users}))
    (folder / "agents" / "porter.yaml").write_text(json.dumps({"name": "porter", "retrieve": "never"}))


def _per_second(replies: Sequence[Reply], since: float, until: float) -> float:
    """Good answers that came between two moments, for each second between them."""
    came = sum(reply.status == 200 and since <= reply.at + reply.took_s < until for reply in replies)
    return came / (until - since)


def _p99(replies: Sequence[Reply]) -> float:
    took = sorted(reply.took_s for reply in replies)
    return took[min(len(took) - 1, int(len(took) * 0.99))] if took else float("nan")


def _median_ms(replies: Sequence[Reply]) -> float:
    return statistics.median(reply.took_s for reply in replies) * 1e3 if replies else float("nan")
