from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from quarterdeck.core.errors import RateLimited
from quarterdeck.core.runs import AgentSpec
from quarterdeck.service.access import Access, User
from quarterdeck.service.limits import LimitRule, RateLimits
from quarterdeck.service.standing import Standing
from quarterdeck.store.limits import MemoryLimits, Rate
from quarterdeck.telemetry.metrics import Metrics
from quarterdeck.transports.http.app import Backing, HttpLimits, http_app

from .conftest import KEYS, USERS, Served

SCRAPER = "qd_" + "e" * 64


@pytest.fixture
def measured(served: Served) -> Served:
    """The same server, with metrics and somebody who may read them."""
    scraper = User(
        id="scraper", tenant="acme", scopes=("metrics.read",), key=f"sha256:{hashlib.sha256(SCRAPER.encode()).hexdigest()}"
    )
    app = http_app(
        Backing(
            desk=served.app.state.desk,
            approvals=served.app.state.approvals,
            effects=served.app.state.effects,
            access=Access((*USERS, scraper), {}, keyless=True),
            documents=served.app.state.documents,
            checks={},
            standing=Standing(Metrics(), served.store.journal, served.store.records, ("acme", "globex")),
        ),
        version="0",
        limits=HttpLimits(hosts=("127.0.0.1", "localhost")),
    )
    return Served(app=app, store=served.store, worker=served.worker)


@dataclass
class FullDesk:
    """A desk without room."""

    agents: Mapping[str, AgentSpec]

    async def ask(self, *args: Any, **more: Any) -> None:
        raise RateLimited("come back", reason="no_room")


async def scrape(measured: Served) -> list[str]:
    reply = await measured.send("GET", "/metrics", key=SCRAPER)
    assert reply.status == 200
    return reply.body.decode().splitlines()


@pytest.mark.row("O2", part="requests")
async def test_requests_are_counted_by_the_template_of_their_route(measured: Served) -> None:
    await measured.send("GET", "/api/v1/runs/one")
    await measured.send("GET", "/api/v1/runs/two")
    await measured.send("GET", "/nowhere/at/all")
    await measured.send("POST", "/chat", {"message": "hi"})

    lines = await scrape(measured)

    assert 'quarterdeck_http_requests_total{method="GET",route="/api/v1/runs/{run_id}",status="404"} 2.0' in lines
    assert 'quarterdeck_http_requests_total{method="GET",route="none",status="404"} 1.0' in lines
    assert 'quarterdeck_http_requests_total{method="POST",route="/chat",status="200"} 1.0' in lines
    assert 'quarterdeck_http_request_seconds_count{method="POST",route="/chat"} 1.0' in lines
    assert not any("nowhere" in line for line in lines)


@pytest.mark.row("O2", part="sent away")
async def test_who_is_sent_away_is_counted_by_the_reason(measured: Served) -> None:
    desk = measured.app.state.desk
    measured.app.state.desk = FullDesk(desk.agents)
    measured.app.state.rates = RateLimits(
        (LimitRule(scope="route", names=("/v1/models",), rate=Rate(amount=1, window_s=60)),), MemoryLimits()
    )

    asked = [await measured.send("GET", "/v1/models") for _ in range(3)]
    completion = {"model": "support", "messages": [{"role": "user", "content": "hi"}]}
    crowded = [
        await measured.send("POST", "/chat", {"message": "hi"}),
        await measured.send("POST", "/v1/chat/completions", completion),
    ]
    lines = await scrape(measured)

    assert [reply.status for reply in (*asked, *crowded)] == [200, 429, 429, 429, 429]
    assert 'quarterdeck_sent_away_total{reason="rate_limit",transport="http"} 2.0' in lines
    assert 'quarterdeck_sent_away_total{reason="no_room",transport="http"} 2.0' in lines


@pytest.mark.row("O2", part="access")
async def test_metrics_are_read_by_who_has_the_scope_and_nobody_else(measured: Served, served: Served) -> None:
    blind = http_app(
        Backing(
            desk=served.app.state.desk,
            approvals=served.app.state.approvals,
            effects=served.app.state.effects,
            access=served.app.state.access,
            documents=served.app.state.documents,
            checks={},
        ),
        version="0",
    )

    replies = [await measured.send("GET", "/metrics", key=key) for key in (None, KEYS["emma"], KEYS["omar"], "qd_wrong")]

    assert [reply.status for reply in replies] == [403, 403, 403, 401]
    assert (await Served(app=blind, store=served.store, worker=served.worker).send("GET", "/metrics")).status == 404


@pytest.mark.row("O2", part="access")
async def test_metrics_name_neither_people_nor_tenants_nor_what_was_said(measured: Served) -> None:
    await measured.send("POST", "/chat", {"message": "my secret word is xylophone"}, key=KEYS["emma"])

    text = "\n".join(await scrape(measured))

    assert not any(word in text for word in ("emma", "acme", "globex", "scraper", "xylophone"))
