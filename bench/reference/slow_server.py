"""A chat-completions server in a process of its own that takes as long as it is asked to, and knows who hung up.

A question says what it wants in words: `wait=1.5` seconds before the answer, `pieces=2000` of a streamed one. `GET /seen`
tells how many were asked and when, by the clock all processes share, connections were closed before their answer.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

PIECE = "The printer stands on the third floor. "


class Provider:
    """What was asked, and what became of it."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed: list[float] = []  # monotonic seconds

    async def complete(self, request: web.Request) -> web.StreamResponse:
        given = orjson.loads(await request.read())
        words = str(given["messages"][-1]["content"])
        self.asked += 1
        try:
            await asyncio.sleep(_said(words, "wait"))
            text = PIECE * max(1, int(_said(words, "pieces")))
            if given.get("stream"):
                return await _streamed(request, given["model"], text)
        except (asyncio.CancelledError, ConnectionError):
            self.closed.append(time.monotonic())
            raise
        return web.json_response(_whole(given["model"], text))

    async def seen(self, request: web.Request) -> web.Response:
        return web.json_response({"asked": self.asked, "closed": self.closed})


def _said(words: str, name: str) -> float:
    found = re.search(rf"{name}=([0-9.]+)", words)
    return float(found[1].rstrip(".")) if found else 0.0


def _whole(model: str, text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 20, "total_tokens": 40},
    }


async def _streamed(request: web.Request, model: str, text: str) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    head = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": model}
    for start in range(0, len(text), len(PIECE)):
        choice = {"index": 0, "delta": {"content": text[start : start + len(PIECE)]}, "finish_reason": None}
        await answer.write(b"data: " + orjson.dumps(head | {"choices": [choice]}) + b"\n\n")
    last = head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    await answer.write(b"data: " + orjson.dumps(last) + b"\n\ndata: [DONE]\n\n")
    return answer


async def _serve() -> None:
    provider = Provider()
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", provider.complete), web.get("/seen", provider.seen)])
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the parent is gone
    await runner.cleanup()


@asynccontextmanager
async def slow_server() -> AsyncIterator[str]:
    """A running server's origin; it ends with the block, and with this process if that dies."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.reference.slow_server", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
