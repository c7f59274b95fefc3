"""Whether the time of a "not found" tells what is there and closed from what there is not.

One person asks for documents, places in them, runs and sessions of which half belong to somebody else and half do not exist,
in random order on one connection. The two kinds of times are held against each other by the Mann-Whitney test: p is how
often chance alone would part two equal kinds as far as they are. A document is asked for with the right to read it as a
condition of the one query, so neither kind has work the other has not; as its id can be guessed from a file's name, that is
a budget. A run or a session of somebody else is read before its owner is compared: that shows, and is only told, since
nobody guesses their ids.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.measure import Measure, absolute, at_least
from tests.acceptance.conftest import Server

EACH = 400  # questions of either kind for a route
LEAST_P = 0.001  # below, the two kinds of a document are told apart
SECRET = "The budget code of the project Heron is four."
ROUTES: dict[str, tuple[str, str]] = {
    "a document": ("document", "/api/v1/documents/{}"),
    "its viewer at a citation": ("document", "/api/v1/documents/{}?at=0-20"),
    "its editions": ("document", "/api/v1/documents/{}/editions"),
    "a run": ("run", "/api/v1/runs/{}"),
    "its story": ("run", "/api/v1/runs/{}/story"),
    "its events": ("run", "/api/v1/runs/{}/events"),
    "a session": ("session", "/api/v1/session/{}"),
}


async def measure() -> list[Measure]:
    return await asyncio.to_thread(_measured)


def _measured() -> list[Measure]:
    with tempfile.TemporaryDirectory(prefix="quarterdeck-bench-") as folder:
        server = Server(Path(folder) / "data", folder=_folder(Path(folder) / "desk"))
        server.start()
        try:
            there = _belongings(server)
            return [
                found
                for name, (kind, path) in ROUTES.items()
                for found in _told(name, *_times(server, there[kind], path), LEAST_P if kind == "document" else None)
            ]
        finally:
            server.stop()


def _folder(folder: Path) -> Path:
    folder.mkdir()
    people = [
        {
            "id": user,
            "tenant": "acme",
            "groups": ["everyone", group],
            "scopes": ["chat", "documents.read", "documents.write"],
            "key": "generated",
        }
        for user, group in (("ann", "hr"), ("bob", "sales"))
    ]
    (folder / "users.yaml").write_text(json.dumps({"users": people}))
    (folder / "agents").mkdir()
    (folder / "agents" / "desk.yaml").write_text(json.dumps({"name": "desk", "retrieve": "always"}))
    (folder / "quarterdeck.yaml").write_text(json.dumps({"models": {"mode": "local"}}))
    return folder


def _belongings(server: Server) -> dict[str, str]:
    """Ids of what is ann's."""
    sent = {"name": "heron.md", "groups": ["hr"], "text": SECRET}
    uploaded = server.send("POST", "/api/v1/documents", sent, user="ann").json
    server.send("GET", f"/api/v1/runs/{uploaded['run_id']}/events", user="ann")  # to its end
    asked = server.ask("What is the budget code of the project Heron?", user="ann")
    return {"document": uploaded["documents"][0]["id"], "run": asked["run_id"], "session": asked["session_id"]}


def _times(server: Server, there: str, path: str) -> tuple[list[float], list[float]]:
    """Milliseconds of bob's questions for what is ann's, and for what there is not."""
    rng = random.Random(7)
    taken: dict[bool, list[float]] = {True: [], False: []}
    order = [closed for closed in (True, False) for _ in range(EACH)]
    rng.shuffle(order)
    connection = server.connect()
    headers = {"Authorization": f"Bearer {server.key('bob')}"}
    for place, closed in enumerate([True, False] * 10 + order):  # the first twenty warm up
        asked = there if closed else _other(there, rng)
        begun = time.perf_counter()
        status = _status(connection, path.format(asked), headers)
        if place >= 20:
            taken[closed].append((time.perf_counter() - begun) * 1e3)
        assert status == 404, (path, status)
    connection.close()
    return taken[True], taken[False]


def _status(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> int:
    connection.request("GET", path, headers=headers)
    reply = connection.getresponse()
    reply.read()
    return reply.status


def _other(id: str, rng: random.Random) -> str:
    """An id like this one, of nothing."""
    return id[:-6] + "".join(rng.choice("0123456789abcdef") for _ in range(6))


def _told(name: str, closed: Sequence[float], absent: Sequence[float], least_p: float | None) -> list[Measure]:
    middle: Callable[[Sequence[float]], float] = statistics.median
    apart = abs(middle(closed) - middle(absent))
    note = f"medians {middle(closed):.3f} ms closed, {middle(absent):.3f} ms absent, {EACH} of each"
    return [
        absolute(f"not found, {name}: medians apart", apart, "ms", note=note),
        at_least(f"not found, {name}: Mann-Whitney p", round(mann_whitney(closed, absent), 4), "", budget=least_p),
    ]


def mann_whitney(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p of the Mann-Whitney U test, by the normal approximation: for more than some twenty values each.

    Source: Mann, Whitney, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other", 1947.
    """
    ranked = sorted([(value, True) for value in one] + [(value, False) for value in other])
    ranks = sum(rank for rank, (_, first) in enumerate(ranked, 1) if first)
    n, m = len(one), len(other)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))
