from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from quarterdeck.core.answers import Passage
from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import StoreUnavailable
from quarterdeck.core.labels import PUBLIC, Label
from quarterdeck.knowledge.measured import MeasuredSearch
from quarterdeck.knowledge.search import Finding
from quarterdeck.telemetry.metrics import Metrics

PASSAGE = Passage(id="vpn-1", doc_id="vpn", title="VPN", text="Twelve hours.", label=Label(readers=PUBLIC))
EVERYWHERE: Mapping[str, str | frozenset[str]] = {}


class Shelf:
    """Finds a passage for every question but two."""

    async def find(
        self, query: str, ctx: Context, k: int = 6, *, where: Mapping[str, str | frozenset[str]] = EVERYWHERE
    ) -> Finding:
        if query == "outage":
            raise StoreUnavailable("the index is away")
        return Finding(passages=() if query == "nothing" else (PASSAGE,), mode="hybrid")


@pytest.mark.row("O2", part="retrieval")
async def test_searches_are_counted_by_mode_with_their_time_and_what_they_found() -> None:
    metrics = Metrics()
    ticks: Iterator[float] = iter((0.0, 0.2, 1.0, 1.3, 2.0, 2.1))
    searcher = MeasuredSearch(Shelf(), metrics, clock=lambda: next(ticks))
    ctx = Context(
        principal=Principal(user="emma", tenant="acme"), run_id="r", deadline=datetime.now(UTC) + timedelta(seconds=60)
    )

    passages, mode = await searcher.search("how long is a session?", ctx)
    await searcher.search("nothing", ctx)
    with pytest.raises(StoreUnavailable):
        await searcher.search("outage", ctx)

    text = metrics.rendered()[0].decode()
    assert (list(passages), mode) == ([PASSAGE], "hybrid")
    for line in (
        'quarterdeck_retrieval_searches_total{mode="hybrid",outcome="found"} 1.0',
        'quarterdeck_retrieval_searches_total{mode="hybrid",outcome="empty"} 1.0',
        'quarterdeck_retrieval_searches_total{mode="failed",outcome="failed"} 1.0',
        'quarterdeck_retrieval_seconds_sum{mode="hybrid"} 0.5',
        'quarterdeck_retrieval_passages_bucket{le="0.0",mode="hybrid"} 1.0',
        'quarterdeck_retrieval_passages_count{mode="hybrid"} 2.0',
    ):
        assert line in text
