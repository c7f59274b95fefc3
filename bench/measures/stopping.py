"""SIGTERM to a server under load: when it says so, what becomes of those who ask, when it ends and how."""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import time
from pathlib import Path

import aiohttp

from bench.measure import Measure, absolute
from bench.reference.slow_server import slow_server
from bench.stage import KEYS, QUESTION, Stage, posted, staged

CALLERS, BEFORE_S = 10, 3.0
SAID_S, ENDED_S = 1.0, 30.0


async def measure() -> list[Measure]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        async with slow_server() as provider:
            async with staged(provider, folder=folder) as stage:
                asked = _Asked(stage)
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(CALLERS):
                        tasks.create_task(asked.again())
                    await asyncio.sleep(BEFORE_S)
                    said_s, ended_s, code = await _stopped(stage, asked)
            async with staged(provider, folder=folder) as again:
                lost = [run_id for run_id in asked.answered if (await again.run(run_id))["status"] != "done"]
    return [
        absolute("readiness says 503 after", said_s, "s", budget=SAID_S),
        absolute(
            "ended after",
            ended_s,
            "s",
            budget=ENDED_S,
            note=f"{len(asked.answered)} requests answered, some while it stopped",
        ),
        absolute("exit code other than 0", int(code != 0), "", budget=0, note=f"it is {code}"),
        absolute("requests cut or failed", asked.failed, "requests", budget=0, note="which the server had taken"),
        absolute("runs lost", len(lost), "runs", budget=0, note="of those that were answered, after the next start"),
    ]


class _Asked:
    """Callers who ask again as soon as they are answered, until nobody answers."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.answered: list[str] = []
        self.failed = 0
        self.stopped_at = float("inf")

    async def again(self) -> None:
        headers = {"Authorization": f"Bearer {KEYS['quiet']}"}
        while True:
            sent_at = time.monotonic()
            try:
                async with self._stage.session.post(f"{self._stage.url}/chat", json=QUESTION, headers=headers) as answer:
                    told = json.loads(await answer.read())
            except aiohttp.ClientConnectorError:
                return  # the port is closed: it was not taken
            except aiohttp.ClientError:
                self.failed += sent_at < self.stopped_at  # later ones were sent over a connection that was being closed
                return
            if answer.status == 200:
                self.answered.append(told["run_id"])
            elif sent_at < self.stopped_at:
                self.failed += 1
            else:
                return


async def _stopped(stage: Stage, asked: _Asked) -> tuple[float, float, int]:
    """Seconds until readiness says so and until the end, and the exit code."""
    reader, writer = await posted(stage, "/ready", {}, "quiet")  # a connection that is open before
    await asyncio.wait_for(reader.read(65_536), 10)
    began = asked.stopped_at = time.monotonic()
    stage.process.send_signal(signal.SIGTERM)
    said_s = float("inf")
    while said_s == float("inf") and time.monotonic() < began + 5:
        writer.write(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        try:
            told = await asyncio.wait_for(reader.read(65_536), 5)
        except ConnectionError:
            break
        if b" 503 " in told:
            said_s = time.monotonic() - began
        elif not told:
            break
        await asyncio.sleep(0.02)
    writer.close()
    code = await asyncio.wait_for(stage.ended(), ENDED_S + 10)
    return said_s, time.monotonic() - began, code
