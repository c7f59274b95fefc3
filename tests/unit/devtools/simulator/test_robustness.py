"""What clients and scripts get wrong is told to them, and what is remembered is bounded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quarterdeck.devtools.simulator import Script
from quarterdeck.devtools.simulator.exchange import Incoming
from quarterdeck.devtools.simulator.journal import Entry, Journal
from quarterdeck.devtools.simulator.record import Player
from quarterdeck.devtools.simulator.seeds import Seed
from quarterdeck.devtools.simulator.world import World, Worlds
from tests.unit.devtools.simulator.asking import chat, send, simulator

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/__sim/clock", {"advance_s": "soon"}),
        ("/__sim/clock", {"advance_s": None}),
        ("/__sim/clock", {"advance_s": 1e308}),
        ("/__sim/expect", {"times": "twice"}),
        ("/__sim/expect", {"pathh": "*/embeddings"}),
        ("/__sim/faults", {"kind": "explode"}),
        ("/__sim/faults", {"kind": "status", "status": 99_999}),
        ("/__sim/faults", {"kind": "cut", "after_chunk": -1}),
        ("/__sim/faults", [1]),
        ("/__sim/faults", b"{"),
    ],
)
async def test_mistakes_in_control_requests_are_told(path: str, body: Any) -> None:
    heard = await send(simulator(), path, body)

    assert (heard.status, bool(heard.json["error"])) == (400, True)


@pytest.mark.row("D1", part="validation")
@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, chat(stream="yes"), "stream"),
        (CHAT, chat(stream=True, stream_options=5), "stream_options"),
        ("/v1/responses", {"model": "gpt-5", "input": "Hello.", "stream": 1}, "stream"),
    ],
)
async def test_switches_are_true_or_false(path: str, body: Any, param: str) -> None:
    heard = await send(simulator(), path, body)

    assert (heard.status, heard.error["param"], heard.error["code"]) == (400, param, "invalid_type")


@pytest.mark.parametrize("told", ["ttft_s=nan", "ttft_s=inf", "tokens_per_s=nan", "jitter=nan"])
async def test_no_timing_is_endless(told: str) -> None:
    heard = await send(simulator(), CHAT, chat(), x_sim_timing=told)

    assert heard.status == 400


async def test_a_script_in_python_that_fails_is_an_error_of_the_simulator_in_the_journal() -> None:
    def reply(ask: Any) -> str:
        raise KeyError("colour")

    app = simulator(scripts=[Script(steps=(reply,))])

    heard = await send(app, CHAT, chat())

    assert (heard.status, heard.error["type"]) == (500, "simulator_error")
    assert "KeyError" in heard.error["message"]
    assert [entry.status for entry in app.journal] == [500]


async def test_scripts_put_one_after_another_count_their_steps_apart() -> None:
    app = simulator()
    said = []
    for text in ("one", "two", "three", "four"):
        await send(app, "/__sim/script", {"steps": [{"answer": text, "times": 1}]}, method="PUT")
        said.append((await send(app, CHAT, chat())).json["choices"][0]["message"]["content"])

    assert said == ["one", "two", "three", "four"]


def _entry(number: int, size: int) -> Entry:
    return Entry(number=number, trace="", method="POST", path=CHAT, raw_headers={}, body=b" " * size, started_s=0.0)


def test_the_journal_is_bounded_in_requests_and_in_bytes() -> None:
    journal = Journal(keep=3, keep_bytes=1000)

    for number in range(10):
        journal.add(_entry(number, 10))
    few = [entry.number for entry in journal]
    for number in range(10, 13):
        journal.add(_entry(number, 600))

    assert few == [7, 8, 9]
    assert [entry.number for entry in journal] == [12]


def test_a_trace_in_use_outlives_those_that_are_not() -> None:
    worlds = Worlds()
    first, _ = worlds.of("")

    for number in range(10_050):
        worlds.of(f"trace-{number}")
        worlds.of("")

    assert worlds.of("") == (first, False)


async def test_a_cassette_answers_a_request_that_holds_its_own_key(tmp_path: Path) -> None:
    line = {
        "request": {"method": "POST", "path": "/chat/completions", "body": {"note": "the key is [secret]"}},
        "response": {"status": 200, "headers": {}, "body": "{}"},
    }
    (tmp_path / "c.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    body = b'{"note": "the key is hunter2"}'
    incoming = Incoming(
        method="POST", path="/chat/completions", query="", headers={b"authorization": b"bearer hunter2"}, body=body,
        dice=Seed(0).dice("", body), world=World(), number=1, pure=False, deployment="",
    )  # fmt: skip

    answer = await Player(tmp_path / "c.jsonl").answer(incoming)

    assert answer.status == 200


TRANSCRIPT = """
import asyncio, hashlib, json
from quarterdeck.devtools.simulator import Options, Timing
from tests.unit.devtools.simulator.asking import CHAT_TOOL, WEATHER, chat, claude, send, simulator

async def main():
    app = simulator(seed=7, timing=Timing(ttft_s=0.2, tokens_per_s=50, jitter=0.5))
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": WEATHER}}
    asked = [("/v1/chat/completions", chat("Weather in Oslo?", tools=[CHAT_TOOL], stream=True)),
             ("/v1/chat/completions", chat("Weather in Oslo?", response_format=schema)),
             ("/v1/chat/completions", chat("word " * 3000)), ("/v1/chat/completions", chat("word " * 3000)),
             ("/v1/messages", claude("Hello.", stream=True)), ("/v1/messages", claude("Hello.", stream=True)),
             ("/v1/responses", {"model": "gpt-5", "input": "Hello.", "stream": True}),
             ("/v1/embeddings", {"model": "e", "input": ["some text", "more"]}),
             ("/v1/moderations", {"input": "kill the process"}),
             ("/v1/rerank", {"model": "r", "query": "cats", "documents": ["dogs", "cats and dogs"]})]
    for path, body in asked:
        heard = await send(app, path, body)
        print(path, heard.status, sorted(heard.headers.items()), hashlib.sha256(heard.body).hexdigest())
    print([(entry.started_s, entry.elapsed_s) for entry in app.journal])

asyncio.run(main())
"""


@pytest.mark.row("D1", part="deterministic")
def test_every_process_gives_the_same_transcript_whatever_its_hashes() -> None:
    def transcript(hashes: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", TRANSCRIPT],
            env={**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": str(Path(__file__).parents[4])},
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip

    assert transcript("1") == transcript("4242")
