"""Two bare ASGI applications and the simulator, each served by uvicorn with the same settings.

``chat`` is the least that can be called a chat endpoint: it reads the whole body, decodes it with orjson, and encodes a
completion with orjson that names the model it was asked for and counts four characters of the messages as a token. It has
one path, no routing, and checks nothing. ``fixed`` reads the body, does not look at it, and sends the same bytes each time:
what the server itself costs.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import orjson
import uvicorn
import uvloop

from quarterdeck.devtools.simulator import Options, Script, Simulator, Step

CREATED = 1_767_225_600
ANSWER = "The look-ups are complete and every value was found."
ANSWER_TOKENS = 12


def completion(model: str, prompt_tokens: int) -> bytes:
    return orjson.dumps(
        {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": CREATED,
            "model": model,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "logprobs": None, "finish_reason": "stop"}
            ],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": ANSWER_TOKENS,
                "total_tokens": prompt_tokens + ANSWER_TOKENS,
            },
        }
    )


FIXED = completion("gpt-5", 20)


async def chat(scope: Any, receive: Any, send: Any) -> None:
    request = orjson.loads(await _body(receive))
    prompt_tokens = sum(len(message["content"]) for message in request["messages"]) // 4
    await _send(send, completion(request["model"], prompt_tokens))


async def fixed(scope: Any, receive: Any, send: Any) -> None:
    await _body(receive)
    await _send(send, FIXED)


async def _body(receive: Any) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _send(send: Any, body: bytes) -> None:
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


BARE = {"chat": chat, "fixed": fixed}


async def serve(kind: str) -> None:
    """Serve one application until standard input closes; prints the port."""
    if bare := BARE.get(kind):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(
                bare, host="127.0.0.1", port=port, ws="none", lifespan="off", access_log=False, log_config=None,
                proxy_headers=False,
                server_header=False, date_header=False,
            )
        )  # fmt: skip
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        print(port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        server.should_exit = True
        await serving
        return
    scripts = [] if kind == "extractive" else [Script(steps=[Step(answer=ANSWER)])]
    async with Simulator(Options(scripts=scripts)) as simulator:
        print(simulator.url.rsplit(":", 1)[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
