"""The server answers curl: the commands of the quick start as they stand there, and what is told of those typed wrongly."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Server, environment

QUICKSTART = Path(__file__).parents[2] / "docs" / "quickstart.md"


@pytest.fixture(scope="module")
def curl() -> str:
    found = shutil.which("curl")
    if found is None:
        pytest.skip("there is no curl")
    return found


def typed(server: Server, command: str, **places: str) -> str:
    """What a shell prints for a command that was written for the server's usual port and folder."""
    for place, value in {"127.0.0.1:8080": f"127.0.0.1:{server.port}", **places}.items():
        command = command.replace(place, value)
    keys = f"key_of() {{ sed -n \"s/^$1 //p\" '{server.data / 'keys'}'; }}\n"
    done = subprocess.run(["sh", "-c", keys + command], capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(curl: str, server: Server, *arguments: str) -> tuple[int, str]:
    """Status and body of one call."""
    address = f"http://127.0.0.1:{server.port}"
    command = [
        curl,
        "-sS",
        "-w",
        "\n%{http_code}",
        *(address + word if word.startswith("/") else word for word in arguments),
    ]
    body, _, status = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.rpartition("\n")
    return int(status), body


@pytest.mark.row("S2", part="curl")
def test_what_the_quick_start_types_is_answered(curl: str, server: Server) -> None:
    blocks = re.findall(r"```(?:sh|bash|console)?\n(curl .*?)```", QUICKSTART.read_text(), re.DOTALL)
    questions = [block for block in blocks if "8080/chat" in block]

    answers = [json.loads(typed(server, question)) for question in questions]

    assert len(questions) >= 4
    assert all(answer["answer"] and answer["run_id"] for answer in answers)
    waiting = next(answer for answer in answers if answer["drafts"])
    decision = next(block for block in blocks if "/decisions" in block).partition("\n\n")[2]
    assert json.loads(typed(server, decision, DRAFT_ID=waiting["drafts"][0]))["status"] == "approved"
    following = next(block for block in blocks if "/events" in block).splitlines()[-1]
    assert typed(server, following, RUN_ID=waiting["run_id"]).endswith("data: [DONE]\n\n")


@pytest.mark.row("S3", part="curl")
def test_a_stream_reaches_curl_as_it_is_made(curl: str, server: Server) -> None:
    asked = json.dumps({"query": "How do I report phishing?"})

    status, body = told(curl, server, "-N", "-H", "Content-Type: application/json", "-d", asked, "/api/v1/agent/stream")

    assert status == 200
    assert re.findall(r"^event: (run_started|done)$", body, re.MULTILINE) == ["run_started", "done"]


def test_what_curl_sends_otherwise_than_it_should_is_told_in_words(curl: str, server: Server) -> None:
    as_a_form = told(curl, server, "-d", '{"message": "hi"}', "/chat")
    wrong_key = told(curl, server, "-H", "Authorization: Bearer qd_" + "0" * 64, "/api/v1/runs")

    assert [(status, json.loads(body)["error"]["code"]) for status, body in (as_a_form, wrong_key)] == [
        (415, "unsupported_media_type"),
        (401, "unauthenticated"),
    ]
