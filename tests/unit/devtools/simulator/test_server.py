"""What is answered at once goes over the wire as what goes through the ASGI application."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from quarterdeck.devtools.simulator import Options, RateLimit, Script, Simulator, Step
from quarterdeck.devtools.simulator.app import SimulatorApp
from quarterdeck.devtools.simulator.scripts import Condition, Wanted
from tests.unit.devtools.simulator.asking import CHAT_TOOL, chat, claude

CHAT = "/v1/chat/completions"
CALL = Step(when=Condition(offers="get_weather"), calls=(Wanted(tool="get_weather"),))
KEY = "Authorization: Bearer sk-test"


def _request(path: str, body: Any, *headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(raw)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + raw


async def _raw(asked: list[bytes]) -> tuple[bytes, list[dict[str, Any]]]:
    """Everything a server sends for requests sent together, and its journal; the last one closes the connection."""
    scripts = [Script(steps=(CALL, Step(answer="One two $message")))]
    async with Simulator(Options(scripts=scripts, rate_limit=RateLimit(requests_per_min=4))) as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
        writer.write(b"".join(asked) + b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answered = await reader.read()
        writer.close()
        return answered, [entry.shown() for entry in simulator.app.journal]


@pytest.mark.parametrize(
    "asked",
    [
        _request(CHAT, chat(), KEY),
        _request(CHAT, chat(stream=True, stream_options={"include_usage": True}), KEY),
        _request(CHAT, chat(tools=[CHAT_TOOL]), KEY),
        _request(CHAT, chat(colour="red"), KEY),
        _request(CHAT, b"{", KEY),
        _request(CHAT, b"", KEY),
        _request(CHAT, chat()),
        _request(CHAT, chat("word " * 20_000), KEY),
        _request("/v1/messages", claude(), "x-api-key: sk-test", "anthropic-version: 2023-06-01"),
        _request("/v1/responses", {"model": "gpt-5", "input": "Hello.", "stream": True}, KEY),
        _request("/v1/embeddings", {"model": "text-embedding-3-small", "input": "Hello."}, KEY),
        _request("/__trace/one/v1/chat/completions", chat(), KEY, "x-sim-seed: 5"),
        _request(CHAT, chat(), KEY, "x-sim-fault: 503"),
        _request(CHAT, chat(), KEY, "Expect: 100-continue"),
        b"".join(_request(CHAT, chat("Again."), KEY) for _ in range(6)),
    ],
)
async def test_an_answer_at_once_has_the_bytes_and_the_journal_of_any_other(
    asked: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = await _raw([asked])
    monkeypatch.setattr(SimulatorApp, "at_once", lambda *_: None)

    assert quick == await _raw([asked])
    assert len(quick[1]) >= 2


async def test_requests_sent_together_are_answered_in_their_order() -> None:
    faults = {2: ("x-sim-timing: ttft_s=1",), 4: ("x-sim-fault: slow delay_s=1",)}
    asked = [_request(f"/__trace/{n}/v1/chat/completions", chat(f"number {n}."), KEY, *faults.get(n, ())) for n in range(7)]

    answered, journal = await _raw(asked)

    places = [answered.index(f"One two number {n}.".encode()) for n in range(7)]
    assert places == sorted(places)
    assert [entry["trace"] for entry in journal] == [*map(str, range(7)), ""]
