"""A replica and a worker of their own processes, and what happens when one of the servers they need goes away."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer

from .conftest import EXAMPLE, QUARTERDECK, Server, environment

QUESTION = "How do I report phishing?"


@dataclass
class Pair:
    """One replica that only serves and one worker, on a Postgres and a Redis of their own."""

    replica: Server
    worker: subprocess.Popen[str]
    worker_log: Path
    postgres: PostgresServer
    redis: RedisServer


@pytest.fixture(scope="module")
def pair(
    _postgres_for_outages: PostgresServer, _redis_for_outages: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    environ = {
        "DATABASE_URL": _postgres_for_outages.new_database(),
        "REDIS_URL": _redis_for_outages.url,
        "QUARTERDECK_WORKER__IN_SERVER": "false",
        "QUARTERDECK_LOG__LEVEL": "debug",
    }
    replica = Server(folder / "data", environ)
    replica.start()
    log = folder / "worker.log"
    command = [*QUARTERDECK, "worker", str(EXAMPLE), "--data", str(folder / "data"), "--json"]
    with log.open("w") as written:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=written, text=True, env=environment(**environ))
    assert worker.stdout is not None
    assert worker.stdout.readline(), log.read_text()
    try:
        yield Pair(replica, worker, log, _postgres_for_outages, _redis_for_outages)
    finally:
        worker.terminate()
        ended = worker.wait(30)
        worker.stdout.close()
        replica.stop()
    assert ended == 0, log.read_text()[-3000:]


@pytest.fixture(scope="module")
def _postgres_for_outages(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    from tests.postgres_server import _served

    yield from _served()


@pytest.fixture(scope="module")
def _redis_for_outages(_redis_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(_redis_program, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


def ready_within(replica: Server, seconds: float) -> Any:
    """The answer of /ready once it is 200."""
    until = time.monotonic() + seconds
    while (answer := replica.send("GET", "/ready")).status != 200:
        assert time.monotonic() < until, answer.body
        time.sleep(0.05)
    return answer.json


@pytest.mark.row("L2", part="between processes")
def test_a_question_to_a_replica_is_answered_by_a_worker(pair: Pair) -> None:
    ready_within(pair.replica, 5)

    asked = pair.replica.ask(QUESTION)

    assert asked["sources"]
    assert f'"run_id": "{asked["run_id"]}"' in pair.worker_log.read_text()


@pytest.mark.row("O1", part="context between processes")
def test_the_trace_of_a_request_goes_on_in_the_worker(pair: Pair) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "X-Request-Id": "from-the-proxy-1"}
    headers["X-Trace-Id-Ext"] = "visit-7"

    asked = pair.replica.send("POST", "/chat", {"message": QUESTION}, headers=headers)

    assert asked.status == 200
    served = pair.replica.logged("from-the-proxy-1")
    worked = [json.loads(line) for line in pair.worker_log.read_text().splitlines() if trace_id in line]
    assert served["trace_id"] == trace_id
    assert worked
    assert {(line["request_id"], line["parent_span_id"]) for line in worked} == {("from-the-proxy-1", served["span_id"])}
    assert {line["session_trace_id"] for line in (served, *worked)} == {"visit-7"}


@pytest.mark.row("S1", part="postgres away")
def test_postgres_away_refuses_writes_at_once_and_its_return_needs_no_restart(
    pair: Pair, figure: Callable[[str], None]
) -> None:
    waiting = pair.replica.ask("Please open a ticket because my laptop does not charge.")
    pair.postgres.stop()
    try:
        took: list[float] = []
        for _ in range(3):
            began = time.monotonic()
            refused = pair.replica.send("POST", "/chat", {"message": QUESTION})
            took.append(time.monotonic() - began)
            assert refused.status == 503, refused.body
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json["error"]["code"] == "store_unavailable"
        ready = pair.replica.send("GET", "/ready")
        alive = pair.replica.send("GET", "/health")
        time.sleep(3)
    finally:
        pair.postgres.start()
    began = time.monotonic()
    again = ready_within(pair.replica, 15)
    back = time.monotonic() - began
    (draft,) = waiting["drafts"]
    decided = pair.replica.send("POST", f"/api/v1/approvals/{draft}/decisions", {"approved": True}, user="omar")
    ended = pair.replica.ended(waiting["run_id"])

    assert max(took) < 1.0
    assert (ready.status, alive.status) == (503, 200)
    assert ready.json["status"] == "unhealthy"
    assert ready.json["checks"]["journal"] != "ok"
    assert again["checks"] == {"journal": "ok", "knowledge": "ok", "worker": "ok"}
    assert back < 5.0
    assert decided.status == 200
    assert ended["status"] == "done"
    figure(f"refused within {max(took):.2f} s (≤ 1), served {back:.2f} s after its return (≤ 5)")


@pytest.mark.row("S3", part="without Redis")
def test_redis_away_slows_answers_and_fails_none(pair: Pair) -> None:
    ready_within(pair.replica, 5)
    pair.redis.stop()
    try:
        asked = [pair.replica.ask(QUESTION) for _ in range(3)]
        stream = pair.replica.send("POST", "/api/v1/agent/stream", {"query": QUESTION})
    finally:
        pair.redis.start()

    assert all(answer["sources"] for answer in asked)
    assert stream.status == 200
    assert stream.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.row("S1", part="workers")
def test_a_fleet_without_a_living_worker_says_so_and_keeps_what_it_is_asked(pair: Pair) -> None:
    ready_within(pair.replica, 5)
    pair.worker.send_signal(signal.SIGSTOP)  # as good as dead, for as long as it lasts
    try:
        until = time.monotonic() + 20
        while (ready := pair.replica.send("GET", "/ready")).status == 200:
            assert time.monotonic() < until
            time.sleep(0.2)
        asked = pair.replica.send("POST", "/api/v1/agent/query", {"query": QUESTION, "options": {"timeout_s": 0.2}})
        (newest, *_) = pair.replica.send("GET", "/api/v1/runs").json["runs"]
    finally:
        pair.worker.send_signal(signal.SIGCONT)
    assert pair.worker.poll() is None
    until = time.monotonic() + 30
    while (ended := pair.replica.send("GET", f"/api/v1/runs/{newest['run_id']}").json)["status"] != "done":
        assert time.monotonic() < until, pair.worker_log.read_text()[-3000:]
        time.sleep(0.1)

    assert "no worker lives" in ready.json["checks"]["worker"]
    assert asked.status == 202
    assert ended["status"] == "done"
    assert pair.worker.poll() is None
