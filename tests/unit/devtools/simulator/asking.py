"""Calls the simulator as an ASGI application, without a port."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from quarterdeck.devtools.simulator import Options, SimulatorApp
from quarterdeck.devtools.simulator.deliver import Cut

KEYS = {"authorization": "Bearer sk-test", "x-api-key": "sk-test", "anthropic-version": "2023-06-01"}
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather of a city.", "parameters": WEATHER},
}


@dataclass
class Heard:
    """What a client received."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    writes: list[bytes] = field(default_factory=list)
    was_cut: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.json["error"])

    @property
    def events(self) -> list[Any]:
        """The decoded data of a stream's events, without ``[DONE]``."""
        lines = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]


def simulator(**options: Any) -> SimulatorApp:
    return SimulatorApp(Options(**options))


async def send(
    app: SimulatorApp, path: str, body: Any = None, *, method: str = "", patience_s: float | None = None, **headers: str
) -> Heard:
    """One request. With `patience_s` the client hangs up after so many seconds."""
    api_keys = {"authorization": KEYS["authorization"]} if "/messages" not in path else dict(list(KEYS.items())[1:])
    named = {**api_keys, **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method or ("GET" if body is None else "POST"),
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items() if value],
    }
    heard, sent, gone = Heard(), False, asyncio.Event()

    async def receive() -> Any:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": raw}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def reply(message: Any) -> None:
        if message["type"] == "http.response.start":
            heard.status = message["status"]
            heard.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            heard.writes.append(message["body"])

    if patience_s is not None:
        asyncio.get_running_loop().call_later(patience_s, gone.set)
    try:
        await app(scope, receive, reply)
    except Cut:
        heard.was_cut = True
    return heard


def chat(text: str = "Hello.", **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "messages": [{"role": "user", "content": text}], **more}


def claude(text: str = "Hello.", **more: Any) -> dict[str, Any]:
    return {"model": "claude-x", "max_tokens": 200, "messages": [{"role": "user", "content": text}], **more}


def called(name: str, arguments: str, id: str = "call_1") -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}],
    }


def returned(text: str, id: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}
