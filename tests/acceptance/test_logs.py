"""What a busy server writes: every line parses, says whose it is, and holds nothing it must not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .conftest import EXAMPLE, Answer, Server

SECRET = "sk-canary1234567890abcdef"
TAGS = """
tags:
  allowed:
    experiment: {}
log: {level: debug}
"""
HOSTILE = [
    "What is my name? I am emma@example.com, card 4111 1111 1111 1111",
    'a\nb\r\n{"level": "critical", "message": "forged"}\u2028\u202e\x1b[31m',
    "How do I report phishing?",
    "Please open a ticket: my phone +49 30 901820 is broken",
    "\u4f60\u597d " * 200,
]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("busy")
    folder = Path(shutil.copytree(EXAMPLE, home / "folder"))
    with (folder / "quarterdeck.yaml").open("a") as file:
        file.write(TAGS)
    started = Server(home / "data", folder=folder, environ={"OPENAI_API_KEY": SECRET, "LLM_MODE": "local"})
    started.start()
    try:
        yield started
    finally:
        started.stop()


@pytest.mark.row("S13", part="masking")
@pytest.mark.row("D3", part="log lines")
def test_every_line_of_a_busy_server_parses_and_says_whose_it_is(busy: Server) -> None:
    def ask(number: int) -> Answer:
        headers = {"X-Request-Id": f"busy-{number}", "X-Tag-Experiment": "b", "X-Trace-Id-Ext": "visit-7"}
        asked = busy.send("POST", "/chat", {"message": HOSTILE[number % len(HOSTILE)]}, headers=headers)
        busy.send("GET", f"/{SECRET}?to=emma@example.com", headers={"X-Request-Id": "lost\x7f"})
        return asked

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(30)))
    for number in range(30):
        busy.logged(f"busy-{number}")

    text = (busy.data / "log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    runs = [line for line in lines if "run_id" in line]
    assert {answer.status for answer in answers} <= {200, 202}
    assert all(isinstance(line["message"], str) and line["timestamp"] for line in lines)
    assert not any(line["message"] == "forged" for line in lines)
    assert {line["run_id"] for line in runs} >= {answer.json["run_id"] for answer in answers}
    for line in runs:
        assert line.keys() >= {"request_id", "trace_id", "tenant", "session_trace_id"}
        assert (line["session_trace_id"], line["tag_experiment"]) == ("visit-7", "b")
    for forbidden in (SECRET, "emma@example.com", "4111 1111", "901820"):
        assert forbidden not in text
