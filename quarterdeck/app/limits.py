"""Rate limits and places for runs, as configured."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable

from quarterdeck.app.implementations import LIMITS, resolve
from quarterdeck.app.stores import shared
from quarterdeck.core.tools import Tool
from quarterdeck.service.admission import Admission, Load
from quarterdeck.service.limits import LimitRule, RateLimits
from quarterdeck.settings import Configuration, Settings
from quarterdeck.store.limits import MemoryLimits, Rate
from quarterdeck.telemetry.metrics import Metrics
from quarterdeck.tools.lane import DeterministicLane
from quarterdeck.workflow.lanes import Lane

__all__ = ["admission", "in_lanes", "opened_limits"]


@contextlib.asynccontextmanager
async def opened_limits(settings: Settings, metrics: Metrics) -> AsyncIterator[RateLimits]:
    """Rate limits while the block lasts: of all replicas where a Redis is named, else of this process.

    Args:
        metrics: Show how often that Redis did not answer.

    Raises Misconfigured if the URL is none, or the client of Redis is not installed.
    """
    rules = [
        LimitRule(
            scope=rule.scope,
            names=rule.names,
            by=rule.by,
            rate=Rate(amount=rule.rate, window_s=rule.window_s, burst=rule.burst),
        )
        for rule in settings.limits.rules
    ]
    given = settings.store.redis_url
    if given is None or not rules:
        yield RateLimits(rules, MemoryLimits())
        return
    url = given.get_secret_value()
    scheme, separator, _ = url.partition("://")  # what follows may hold a password
    state = resolve(LIMITS, scheme if separator else "", "place for rate limits")(url, replicas=settings.limits.replicas)
    metrics.watch_redis("limits", state)
    try:
        yield RateLimits(rules, state)
    finally:
        await state.close()


def admission(configuration: Configuration) -> Admission:
    """Which runs this process accepts."""
    given = configuration.settings.limits.load
    load = Load(
        most=given.max_runs,
        least=given.min_runs or 2 * configuration.settings.worker.concurrency,
        adaptive=given.adaptive,
        tolerance=given.tolerance,
        shares={Lane.BATCH: given.batch_share, Lane.EVAL: given.eval_share},
    )
    return Admission(load, asked=shared(configuration))


def in_lanes(settings: Settings, tools: Iterable[Tool]) -> tuple[Tool, ...]:
    """The tools, of which those that only compute are in a lane of their own. Raises Misconfigured for one that cannot."""
    quick = settings.limits.deterministic
    return DeterministicLane(places=quick.places, deadline_s=quick.deadline_s).over(tools, quick.tools)
