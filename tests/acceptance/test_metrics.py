from __future__ import annotations

import re

import pytest

from .conftest import Server

QUESTION = "How long does a VPN session last before I have to sign in again?"


def _metrics(server: Server) -> dict[str, float]:
    answer = server.send("GET", "/metrics", user="omar")
    assert answer.status == 200
    lines = re.findall(r"^(quarterdeck_\S+(?:\{[^}]*\})?) (\S+)$", answer.body.decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


@pytest.mark.row("O2", part="server")
@pytest.mark.row("K11", part="metrics")
def test_questions_searches_caches_and_drafts_show_in_the_metrics(server: Server) -> None:
    before = _metrics(server)

    server.ask(QUESTION)
    server.ask(QUESTION)
    server.ask("Please open a ticket because my screen flickers.")

    after = _metrics(server)
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert grown['quarterdeck_http_requests_total{method="POST",route="/chat",status="200"}'] == 3
    assert grown['quarterdeck_runs_started_total{agent="support"}'] == 3
    assert grown['quarterdeck_retrieval_searches_total{mode="keyword",outcome="found"}'] >= 2
    assert grown['quarterdeck_cache_lookups_total{cache="retrieval",result="hit"}'] >= 1
    assert grown["quarterdeck_approvals_requested_total"] == 1
    assert grown["quarterdeck_citations_total"] >= 2
    assert after["quarterdeck_approvals_pending"] >= 0


@pytest.mark.row("O2", part="scope")
def test_who_may_only_ask_does_not_see_the_metrics(server: Server) -> None:
    assert server.send("GET", "/metrics").status == 403
