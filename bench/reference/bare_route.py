"""The plainest server around the same runtime: one FastAPI route that asks the desk, with nothing before or behind it.

What it does in the journal is what `quarterdeck serve` does; what differs is the HTTP interface. `python -m
bench.reference.bare_route FOLDER DATA PORT`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from quarterdeck.app.runtime import Runtime, opened
from quarterdeck.service.desk import Question
from quarterdeck.settings import load


class Asked(BaseModel):
    message: str


def application(runtime: Runtime) -> FastAPI:
    app = FastAPI()
    principal = next(user for user in runtime.configuration.users if user.default).principal

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/chat")
    async def chat(body: Asked) -> dict[str, Any]:
        run = await runtime.desk.ask(principal, Question(text=body.message), 60.0)
        assert run.answer is not None
        return {"answer": run.answer.text, "sources": run.answer.sources, "tool_calls": run.tool_calls, "run_id": run.run_id}

    return app


async def serve(folder: Path, data: Path, port: int) -> None:
    configuration = load(folder, os.environ, {"store": {"data": str(data)}})
    async with opened(configuration, keyless=True) as runtime:
        config = uvicorn.Config(application(runtime), host="127.0.0.1", port=port, log_level="error", access_log=False)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=__import__("uvloop").new_event_loop) as runner:
        runner.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
