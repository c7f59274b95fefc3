"""A server as users start it, the slow provider behind it, and loads put on both."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

PLACES, WAIT_S = 20, 1.0
CAPACITY = PLACES / WAIT_S
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
    """A server, the provider behind it, and a way to both.

    Attributes:
        ended: Waits for the end of the server; gives its exit code.
        told: What it said when it was ready.
    """

    url: str
    provider: str
    process: psutil.Process
    session: aiohttp.ClientSession
    ended: Callable[[], Coroutine[Any, Any, int]]
    told: dict[str, Any]

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
        return per_second([reply for answers in callers for reply in answers], 2 * WAIT_S, seconds)

    async def get(self, path: str, name: str = "quiet", **headers: str) -> tuple[int, bytes]:
        """Status and body of what is read there."""
        told = {"Authorization": f"Bearer {KEYS[name]}", **headers}
        async with self.session.get(self.url + path, headers=told) as answer:
            return answer.status, await answer.read()

    async def run(self, run_id: str, name: str = "quiet") -> dict[str, Any]:
        """A run as it stands."""
        return dict(json.loads((await self.get(f"/api/v1/runs/{run_id}", name))[1]))

    async def seen(self) -> Any:
        async with self.session.get(f"{self.provider}/seen") as answer:
            return await answer.json()


@asynccontextmanager
async def staged(provider: str, *, folder: Path | None = None, **settings: Any) -> AsyncIterator[Stage]:
    """A server of its own process, with `provider` behind it, that is stopped with the block.

    Args:
        folder: Where it lives; one that was given before has the runs of then. None for one that is gone afterwards.
        settings: In place of what is set here, section by section.
    """
    with tempfile.TemporaryDirectory() as made:
        folder = folder or Path(made)
        if not (folder / "users.yaml").exists():
            _write_folder(folder, provider, settings)
        passed = {key: value for key in ("PATH", "HOME", "LANG") if (value := os.environ.get(key)) is not None}
        command = [str(Path(sys.executable).with_name("quarterdeck")), "serve", str(folder), "--port", "0", "--json"]
        with (folder / "server.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(*command, env=passed, stdout=asyncio.subprocess.PIPE, stderr=log)
        assert process.stdout is not None
        try:
            line = await process.stdout.readline()
            if not line:
                raise RuntimeError(f"the server did not start:\n{(folder / 'server.log').read_text()[-4000:]}")
            unbounded = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=unbounded, timeout=aiohttp.ClientTimeout(total=90)) as session:
                yield Stage(
                    url=str(json.loads(line)["url"]),
                    provider=provider,
                    process=psutil.Process(process.pid),
                    session=session,
                    ended=process.wait,
                    told=json.loads(line),
                )
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


def _write_folder(folder: Path, provider: str, settings: Mapping[str, Any]) -> None:
    usual = {
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
            "scopes": ["chat", "metrics.read"],
            "key": f"sha256:{hashlib.sha256(key.encode()).hexdigest()}",
        }
        for name, key in KEYS.items()
    ]
    (folder / "agents").mkdir()
    # JSON is YAML.
    (folder / "quarterdeck.yaml").write_text(json.dumps({**usual, **settings}))
    (folder / "users.yaml").write_text(json.dumps({"users": users}))
    (folder / "agents" / "porter.yaml").write_text(json.dumps({"name": "porter", "retrieve": "never"}))


async def posted(
    stage: Stage, path: str, body: dict[str, Any], name: str, *, small: bool = False
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection over which a question was sent; `small` for one that takes next to nothing of the answer."""
    return await requested(stage, "POST", path, body, name, small=small)


async def requested(
    stage: Stage, method: str, path: str, body: dict[str, Any] | None, name: str, *, small: bool = False, more: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection of its own over which a request was sent. Args: more: Further lines of its head."""
    connection = socket.socket()
    if small:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    port = int(stage.url.rsplit(":", 1)[1])
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=1024 if small else 65_536)
    data = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{more}"
        f"Authorization: Bearer {KEYS[name]}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    writer.write(head.encode() + data)
    await writer.drain()
    return reader, writer


def per_second(replies: Sequence[Reply], since: float, until: float) -> float:
    """Good answers that came between two moments, for each second between them."""
    came = sum(reply.status == 200 and since <= reply.at + reply.took_s < until for reply in replies)
    return came / (until - since)


def p99(replies: Sequence[Reply]) -> float:
    took = sorted(reply.took_s for reply in replies)
    return took[min(len(took) - 1, int(len(took) * 0.99))] if took else float("nan")


def median_ms(replies: Sequence[Reply]) -> float:
    return statistics.median(reply.took_s for reply in replies) * 1e3 if replies else float("nan")
