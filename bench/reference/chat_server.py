"""A small chat-completions server in a process of its own: asks for a tool some times, then answers.

It counts the tool results in each request, so it keeps no state and any client can share it. Arguments are filled from the
schema of the first tool it is given: whole numbers count up, text is a sentence, so no two calls are equal.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web

FINAL_TEXT = "The look-ups are complete and every value was found."


def reply(request: dict[str, Any], tool_turns: int) -> dict[str, Any]:
    """The completion for a request."""
    done = sum(1 for message in request["messages"] if message["role"] == "tool")
    message: dict[str, Any] = {"role": "assistant", "content": FINAL_TEXT}
    if done < tool_turns:
        function = request["tools"][0]["function"]
        arguments = orjson.dumps(fill(function["parameters"], done)).decode()
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


def fill(schema: dict[str, Any], count: int) -> dict[str, Any]:
    """Arguments for the required properties of a schema."""
    required = schema.get("required", ())
    return {
        name: count if schema["properties"][name].get("type") == "integer" else f"printer guide {count}" for name in required
    }


def application(tool_turns: int) -> web.Application:
    async def complete(request: web.Request) -> web.Response:
        body = orjson.dumps(reply(orjson.loads(await request.read()), tool_turns))
        return web.Response(body=body, content_type="application/json")

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
