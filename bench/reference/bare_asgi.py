"""An ASGI application that reads the body and answers with fixed bytes: what a server costs before it does anything."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import uvicorn
import uvloop

from quarterdeck.devtools.simulator import Options, Script, Simulator, Step

BODY = (
    b'{"id":"chatcmpl-0","object":"chat.completion","created":1767225600,"model":"gpt-5","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"The look-ups are complete and every value was found."},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":20,"completion_tokens":12,"total_tokens":32}}'
)
ANSWER = "The look-ups are complete and every value was found."


async def bare(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": BODY})


async def serve(kind: str) -> None:
    """Serve one application until standard input closes; prints the port."""
    if kind == "bare":
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
