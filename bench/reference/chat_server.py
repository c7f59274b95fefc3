"""A small chat-completions server in a process of its own: asks for a tool some times, then answers.

It counts the tool results in each request, so it keeps no state and any client can share it. Arguments are filled from the
schema of the first tool it is given: whole numbers count up, text is the question and a number, so no two calls are equal.
It answers with the beginning of a passage that a tool gave it, and cites it; where none gave one, with a fixed sentence.
Whoever asks for a stream and brings no tools gets a longer answer in pieces, `PIECES_PER_WRITE` of them in each write.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

PIECES = 200  # of a streamed answer
PIECES_PER_WRITE = 20
FINAL_TEXT = "The look-ups are complete and every value was found."


def reply(request: dict[str, Any], tool_turns: int) -> dict[str, Any]:
    """The completion for a request."""
    results = [message["content"] for message in request["messages"] if message["role"] == "tool"]
    done = len(results)
    message: dict[str, Any] = {"role": "assistant", "content": answer(results)}
    if done < tool_turns:
        function = request["tools"][0]["function"]
        asked = next(message["content"] for message in reversed(request["messages"]) if message["role"] == "user")
        arguments = orjson.dumps(fill(function["parameters"], done, asked)).decode()
        call = {"id": f"call_{done}", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    prompt_tokens = len(request["messages"]) * 20
    return {
        "id": f"chatcmpl-{done}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if done < tool_turns else "stop"}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 20, "total_tokens": prompt_tokens + 20},
    }


def streamed_text() -> str:
    return "".join(f"word {number} " for number in range(PIECES))


def writes(request: dict[str, Any]) -> list[bytes]:
    """What is written for a stream: its pieces, the reason it ends, usage, and the mark of the end."""
    head = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": request["model"]}

    def event(**fields: Any) -> bytes:
        return b"data: " + orjson.dumps(head | fields) + b"\n\n"

    events = [
        event(choices=[{"index": 0, "delta": {"content": f"word {number} "}, "finish_reason": None}])
        for number in range(PIECES)
    ]
    together = [b"".join(events[start : start + PIECES_PER_WRITE]) for start in range(0, PIECES, PIECES_PER_WRITE)]
    usage = {"prompt_tokens": 40, "completion_tokens": 3 * PIECES, "total_tokens": 40 + 3 * PIECES}
    last = event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]) + event(choices=[], usage=usage)
    return [*together, last + b"data: [DONE]\n\n"]


def answer(results: Sequence[str]) -> str:
    """What is said at the end, by what tools gave."""
    for result in results:
        passages = orjson.loads(result) if result.startswith("[{") else []
        for passage in passages:
            return f"{passage['content'].partition('. ')[0]} [{passage['id']}]."
    return FINAL_TEXT


def fill(schema: dict[str, Any], count: int, text: str = "printer guide") -> dict[str, Any]:
    """Arguments for the required properties of a schema."""
    required = schema.get("required", ())
    return {name: count if schema["properties"][name].get("type") == "integer" else f"{text} {count}" for name in required}


def application(tool_turns: int) -> web.Application:
    async def complete(request: web.Request) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        if asked.get("stream") and not asked.get("tools"):
            return await stream(request, asked)
        return web.Response(body=orjson.dumps(reply(asked, tool_turns)), content_type="application/json")

    async def stream(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in writes(asked):
            await response.write(piece)
            await asyncio.sleep(0)  # each write by itself, and other streams between them
        return response

    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/chat/completions", complete)
    return app


async def serve(tool_turns: int) -> None:
    runner = web.AppRunner(application(tool_turns), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=256)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the parent is gone
    await runner.cleanup()


@asynccontextmanager
async def chat_server(tool_turns: int) -> AsyncIterator[str]:
    """A running server's base URL; it ends with the block, and with this process if that dies."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.reference.chat_server", str(tool_turns),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.stdin.close()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
