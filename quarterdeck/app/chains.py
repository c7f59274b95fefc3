"""What is wrapped around models: the one place that puts the wrappers together.

A call passes, outside in: recording → router → budget → cache → fallback → breaker → retry → meter → provider. The meter is
innermost, so that every attempt is booked at the price of the model that made it, whoever answers in the end. The cache
stands inside the router, so that its key need not know what rules look at; so does the budget, so that what it holds back is
the price of the model that was chosen, and a budget of that model holds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from quarterdeck.app.implementations import BREAKERS, resolve
from quarterdeck.core.context import Context
from quarterdeck.core.labels import Integrity
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Budget, Completion, Model
from quarterdeck.models.breaker import Breaking
from quarterdeck.models.budgeted import Budgeted
from quarterdeck.models.cached import Cached, CompletionCache
from quarterdeck.models.fallback import Fallback
from quarterdeck.models.meter import Metered
from quarterdeck.models.preset import Preset
from quarterdeck.models.prices import Price, Prices
from quarterdeck.models.recorded import Cassette, Playback, Recording, Replaying
from quarterdeck.models.retry import Exponential, RetryBudget, Retrying
from quarterdeck.models.router import Classifier, OnRouted, Routing, Rule
from quarterdeck.settings import Settings
from quarterdeck.settings.schema import ModelSettings, RouteFile
from quarterdeck.store.breaker import BreakerRule, BreakerState, MemoryBreaker
from quarterdeck.telemetry.metrics import Metrics

__all__ = ["Chains", "by_role", "circuits", "prices"]

_PRESET = "preset"
_UNROUTED = ("retrieval_model", "router_model")  # roles that are a choice of model already


class Chains:
    """Puts wrappers around providers as configured, each once."""

    def __init__(
        self,
        settings: ModelSettings,
        provider: Callable[[str], Model],
        *,
        folder: Path,
        budget: Budget | None = None,
        breakers: BreakerState | None = None,
    ) -> None:
        """
        Args:
            provider: Makes the model under ``provider:name``, bare.
            folder: Which a cassette's path is relative to.
            budget: None where nothing is counted.
            breakers: None for circuits of this process.
        """
        self._settings = settings
        self._provider = provider
        self._budget = budget
        self._prices = prices(settings)
        self._breakers = breakers or MemoryBreaker(breaker_rule(settings))
        self._cache = CompletionCache(
            max_entries=settings.cache.max_entries, max_bytes=settings.cache.max_bytes, ttl_s=settings.cache.ttl_s
        )
        self._retry_budgets: dict[str, RetryBudget] = {}
        self._chains: dict[str, Model] = {}
        self._links: dict[str, Model] = {}
        path = settings.cassette.path
        self._cassette = None if path is None else Cassette(folder / path, secrets=_secrets(settings))
        self._playback: Playback | None = None
        if self._cassette is not None and settings.cassette.mode == "replay":
            self._playback = Playback(self._cassette, in_order=settings.cassette.in_order)

    def whole(self, name: str) -> Model:
        """Everything, for whoever asks a model by its name or role."""
        if self._playback is not None:
            return Replaying(name, self._playback)
        model = self._budgeted(name) if name in _UNROUTED else self._routed(name)
        return model if self._cassette is None else Recording(model, self._cassette, name=name)

    def chain(self, name: str) -> Model:
        """A model with its fallbacks and the cache, neither routed nor held to a budget."""
        name = by_role(self._settings, name)
        if name not in self._chains:
            self._chains[name] = self._chain(name)
        return self._chains[name]

    def _budgeted(self, name: str) -> Model:
        chain = self.chain(name)
        return chain if self._budget is None else Budgeted(chain, self._budget, self.chain)

    def _routed(self, name: str) -> Model:
        router, model = self._settings.router, self._budgeted(name)
        if not router.rules and not router.classes:
            return model
        for use in (*(rule.use for rule in router.rules), *(known.use for known in router.classes.values())):
            self.chain(use)  # a name no model stands behind is a mistake now, not at the first request it would get
        return Routing(
            model,
            [_rule(rule) for rule in router.rules],
            self._budgeted,
            classifier=self._classifier() if router.classes else None,
            by_class={label: known.use for label, known in router.classes.items()},
            on_routed=self._savings(model.name),
        )

    def _savings(self, own: str) -> OnRouted | None:
        """Books what routed calls cost less than the agent's own model would have, for the same tokens."""
        budget = self._budget
        if budget is None:
            return None

        async def save(ctx: Context, completion: Completion, took: Usage) -> None:
            otherwise_usd = self._prices.cost_usd(own, completion.usage)
            spent_usd = (took + completion.usage).cost_usd
            if otherwise_usd is not None and spent_usd is not None:
                await budget.save(ctx, "router", completion.model, Usage(cost_usd=otherwise_usd - spent_usd))

        return save

    def _classifier(self) -> Classifier:
        router = self._settings.router
        return Classifier(
            self._budgeted("router_model"),
            {label: known.meaning for label, known in router.classes.items()},
            default=router.default_class or next(iter(router.classes)),
            timeout_s=router.timeout_s,
        )

    def _chain(self, name: str) -> Model:
        fallbacks = self._settings.fallbacks.get(name, self._settings.fallbacks.get("*", ()))
        links = [self._link(link) for link in dict.fromkeys((name, *(by_role(self._settings, link) for link in fallbacks)))]
        model = links[0] if len(links) == 1 else Fallback(links, reasons=self._settings.fallback_on)
        if not self._settings.cache.enabled:
            return model
        return Cached(model, self._cache, with_tools=self._settings.cache.with_tools, budget=self._budget)

    def _link(self, name: str) -> Model:
        """One model with all that belongs to itself."""
        if name not in self._links:
            self._links[name] = (
                Preset(self._settings.preset_answer) if name == _PRESET else self.guarded(self._provider(name))
            )
        return self._links[name]

    def guarded(self, model: Model) -> Model:
        """A model of one provider that is metered, asked again and given rest as configured."""
        metered = Metered(model, self._prices, self._budget)
        if ":" not in model.name:
            return metered  # answered in this process: there is no network to fail
        settings, provider = self._settings, model.name.partition(":")[0]
        retrying = Retrying(
            metered,
            retries=settings.retries,
            backoff=Exponential(base_s=settings.retry_base_s),
            budget=self._retry_budgets.setdefault(provider, RetryBudget()),
        )
        return Breaking(retrying, self._breakers, slow_s=settings.breaker.slow_s)


def by_role(settings: ModelSettings, name: str) -> str:
    """The model behind the name of a role; any other name is that of a model."""
    roles: Mapping[str, str] = {
        "generation_model": settings.generation_model,
        "retrieval_model": settings.retrieval_model,
        "router_model": settings.router_model,
    }
    return roles[name] or settings.default if name in roles else name


def prices(settings: ModelSettings) -> Prices:
    """The price list, with the configured ones in front."""
    return Prices.bundled({model: Price(**price.model_dump()) for model, price in settings.prices.items()})


@asynccontextmanager
async def circuits(settings: Settings, metrics: Metrics) -> AsyncIterator[BreakerState]:
    """Circuits as configured: of all replicas where a Redis is named, else of this process.

    Args:
        metrics: Show how often that Redis did not answer.

    Raises Misconfigured if the URL is none, or the client of Redis is not installed.
    """
    rule = breaker_rule(settings.models)
    url = settings.store.redis_url
    if not url:
        yield MemoryBreaker(rule)
        return
    # What follows the scheme may hold a password.
    scheme, separator, _ = url.get_secret_value().partition("://")
    shared = resolve(BREAKERS, scheme if separator else "", "place for circuits")(url.get_secret_value(), rule)
    metrics.watch_redis("circuits", shared)
    try:
        yield shared
    finally:
        await shared.close()


def breaker_rule(settings: ModelSettings) -> BreakerRule:
    given = settings.breaker
    return BreakerRule(
        share=given.failure_share,
        minimum=given.minimum_calls,
        window_s=given.window_s,
        open_s=given.open_s,
        # A call that is tried again and again may take so long.
        probe_s=settings.timeout_s * (settings.retries + 1) * 2,
    )


def _rule(given: RouteFile) -> Rule:
    integrity = None if given.integrity is None else Integrity[given.integrity.upper()]
    return Rule(**{**given.model_dump(), "integrity": integrity})


def _secrets(settings: ModelSettings) -> list[str]:
    return [provider.api_key.get_secret_value() for provider in settings.providers.values() if provider.api_key is not None]
