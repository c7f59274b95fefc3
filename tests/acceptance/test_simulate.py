"""`quarterdeck simulate` as users start it."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import QUARTERDECK, environment


def _start(*words: str) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [*QUARTERDECK, "simulate", "--port", "0", "--json", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    return process, int(json.loads(process.stdout.readline())["url"].rsplit(":", 1)[1])


def _ask(port: int, path: str, body: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Authorization": "Bearer sk-canary", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


@pytest.mark.row("D4", part="simulate")
def test_command_serves_a_script_logs_each_request_and_stops_when_told(tmp_path: Path) -> None:
    script = tmp_path / "shop.yaml"
    script.write_text("steps: [{when: {message: open}, answer: From nine to five.}]\n", encoding="utf-8")
    body = {"model": "gpt-5", "messages": [{"role": "user", "content": "When do you open?"}]}

    process, port = _start("--script", str(script), "--seed", "7", "--log", "--fault", "503 request=2")
    first = _ask(port, "/v1/chat/completions", body)
    second = _ask(port, "/v1/chat/completions", body)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=30)

    logged = [json.loads(line) for line in out.splitlines()]
    assert first[1]["choices"][0]["message"]["content"] == "From nine to five."
    assert (first[0], second[0]) == (200, 503)
    assert [(line["status"], line["fault"]) for line in logged] == [(200, ""), (503, "status")]
    assert logged[0]["body"] == body
    assert "canary" not in out
    assert (process.returncode, errors) == (0, "")


@pytest.mark.row("D4", part="simulate")
def test_command_tells_people_where_to_point_their_clients() -> None:
    process = subprocess.Popen(
        [*QUARTERDECK, "simulate", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert "OPENAI_BASE_URL=http://127.0.0.1:" in lines[1]
    assert "ANTHROPIC_BASE_URL=" in lines[2]


@pytest.mark.row("D4", part="simulate")
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--script", "/nowhere.yaml"), 2, "no such script"),
        (("--fault", "explode"), 7, "no such fault"),
        (("--record", "x.jsonl"), 2, "upstream"),
        (("--jitter", "3"), 7, "no such timing"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(words: tuple[str, ...], code: int, says: str) -> None:
    done = subprocess.run(
        [*QUARTERDECK, "simulate", "--port", "0", *words], capture_output=True, text=True, env=environment(), timeout=60
    )

    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
