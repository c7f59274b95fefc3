from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

from quarterdeck.core.usage import Usage
from quarterdeck.telemetry import bound
from quarterdeck.telemetry.metrics import Metrics, MetricsPage

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


def lines(metrics: Metrics, start: str, accept: str = "") -> list[str]:
    return [line for line in metrics.rendered(accept)[0].decode().splitlines() if line.startswith(start)]


@dataclass
class Cache:
    hits: int = 0
    misses: int = 0


@dataclass
class Link:
    outages: int = 0


@pytest.mark.row("O2", part="bounded")
def test_values_that_anybody_can_make_up_are_counted_together_from_some_number_on() -> None:
    metrics = Metrics(most=3)

    for number in range(10):
        metrics.request("GET", f"/made/up/{number}", 404, 0.1)
        metrics.request(f"VERB{number}", "/made/up/0", 405, 0.1)

    counted = lines(metrics, "quarterdeck_http_requests_total")
    assert len(counted) == 5
    assert 'quarterdeck_http_requests_total{method="GET",route="other",status="404"} 7.0' in counted
    assert 'quarterdeck_http_requests_total{method="other",route="/made/up/0",status="405"} 10.0' in counted


@pytest.mark.row("O2", part="bounded")
def test_a_tool_that_a_model_made_up_is_not_named() -> None:
    metrics = Metrics()

    metrics.tool("drop_everything", "error", "unknown_tool", 0.0)
    metrics.tool("find_ticket", "ok", None, 0.2)

    assert lines(metrics, "quarterdeck_tool_calls_total") == [
        'quarterdeck_tool_calls_total{error="unknown_tool",status="error",tool="other"} 1.0',
        'quarterdeck_tool_calls_total{error="none",status="ok",tool="find_ticket"} 1.0',
    ]


@pytest.mark.row("O2", part="model")
def test_a_reply_counts_its_tokens_its_money_and_its_time() -> None:
    metrics = Metrics()

    metrics.reply("openai:one", "stop", Usage(prompt_tokens=7, completion_tokens=3, cost_usd=0.5, seconds=1.5), 2)
    metrics.reply("ollama:two", "stop", Usage(prompt_tokens=1, cost_usd=None), 1)

    assert lines(metrics, "quarterdeck_cost_usd_total") == [
        'quarterdeck_cost_usd_total{model="openai:one",spent_on="answers"} 0.5'
    ]
    assert lines(metrics, "quarterdeck_model_replies_unpriced_total") == [
        'quarterdeck_model_replies_unpriced_total{model="ollama:two"} 1.0'
    ]
    assert 'quarterdeck_model_tokens_total{kind="prompt",model="openai:one"} 7.0' in lines(
        metrics, "quarterdeck_model_tokens"
    )
    assert 'quarterdeck_model_reply_seconds_sum{model="openai:one"} 1.5' in lines(metrics, "quarterdeck_model_reply_seconds")
    assert 'quarterdeck_model_attempts_total{model="openai:one"} 2.0' in lines(metrics, "quarterdeck_model_attempts")


@pytest.mark.row("D3", part="metrics")
def test_runs_are_told_apart_by_their_tags_up_to_a_number_of_values() -> None:
    metrics = Metrics(most=2)

    for value in ("a", "b", "c", "d"):
        metrics.run_started("helper", {"experiment": value})
        metrics.run_ended("done", "completed", {"experiment": value})

    assert lines(metrics, "quarterdeck_runs_tagged_total") == [
        'quarterdeck_runs_tagged_total{tag="experiment",value="a"} 1.0',
        'quarterdeck_runs_tagged_total{tag="experiment",value="b"} 1.0',
        'quarterdeck_runs_tagged_total{tag="experiment",value="other"} 2.0',
    ]
    assert 'quarterdeck_runs_tagged_ended_total{outcome="done",tag="experiment",value="other"} 2.0' in lines(
        metrics, "quarterdeck_runs_tagged_ended_total"
    )


@pytest.mark.row("O2", part="caches")
def test_hits_and_misses_of_a_cache_are_shown_and_never_fall() -> None:
    metrics, cache = Metrics(), Cache(hits=3, misses=2)
    metrics.watch_cache("retrieval", cache)
    before = lines(metrics, "quarterdeck_cache_lookups_total")

    cache.hits, cache.misses = 2, 3  # a hit that turned out to be stale

    assert before == [
        'quarterdeck_cache_lookups_total{cache="retrieval",result="hit"} 3.0',
        'quarterdeck_cache_lookups_total{cache="retrieval",result="miss"} 2.0',
    ]
    assert lines(metrics, "quarterdeck_cache_lookups_total") == [
        'quarterdeck_cache_lookups_total{cache="retrieval",result="hit"} 3.0',
        'quarterdeck_cache_lookups_total{cache="retrieval",result="miss"} 3.0',
    ]


@pytest.mark.row("O2", part="redis")
def test_a_redis_that_does_not_answer_is_shown_by_the_part_that_misses_it() -> None:
    metrics, link = Metrics(), Link()
    metrics.watch_redis("limits", link)
    before = lines(metrics, "quarterdeck_redis_outages_total")

    link.outages = 1

    assert before == ['quarterdeck_redis_outages_total{part="limits"} 0.0']
    assert lines(metrics, "quarterdeck_redis_outages_total") == ['quarterdeck_redis_outages_total{part="limits"} 1.0']


@pytest.mark.row("O2", part="exemplars")
def test_a_time_carries_the_id_of_its_trace_for_who_understands_that() -> None:
    metrics = Metrics()
    with bound(trace_id="4bf92f3577b34da6a3ce929d0e0e4736"):
        metrics.search("hybrid", 4, 0.02)

    plain = lines(metrics, "quarterdeck_retrieval_seconds_bucket")
    said = lines(metrics, "quarterdeck_retrieval_seconds_bucket", "application/openmetrics-text; version=1.0.0")

    assert not any("trace_id" in line for line in plain)
    assert sum('# {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.02' in line for line in said) == 1


def test_what_nobody_looked_at_yet_is_no_number() -> None:
    metrics = Metrics()

    assert lines(metrics, "quarterdeck_approvals_pending") == ["quarterdeck_approvals_pending NaN"]

    metrics.standing(pending=2, oldest_s=60.0, queued=0)

    assert lines(metrics, "quarterdeck_approvals_pending") == ["quarterdeck_approvals_pending 2.0"]


def test_the_reference_names_every_metric_and_no_other() -> None:
    shown = {
        line.split()[2].removesuffix("_total")
        for line in lines(Metrics(), "# TYPE quarterdeck_")
        if not line.split()[2].endswith("_created")
    }

    written = set(re.findall(r"^\| `(quarterdeck_\w+?)(?:_total)?`", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))

    assert written == shown


@pytest.mark.row("O2", part="worker")
def test_process_without_a_server_shows_its_metrics_on_a_port_of_their_own() -> None:
    metrics = Metrics()
    metrics.run_started("support")
    page = MetricsPage(metrics, "127.0.0.1", 0)

    with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics", timeout=10) as answer:
        told = answer.read().decode()
    with pytest.raises(OSError, match="in use"):
        MetricsPage(metrics, "127.0.0.1", page.port)
    page.close()

    assert 'quarterdeck_runs_started_total{agent="support"} 1.0' in told
