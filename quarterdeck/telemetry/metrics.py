"""Every metric by name, in one place; who measures calls a method and knows nothing of Prometheus.

Times are seconds, sizes are counts. A label's values come from a bounded set: whatever a client, a model or a tool could
make up becomes `other` once a label has as many values as it may. No label names a person or a tenant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from quarterdeck.core.usage import Usage
from quarterdeck.telemetry.logs import bound_ids

__all__ = ["Counted", "Linked", "Metrics", "MetricsPage"]

MOST = 200  # values of one label
OTHER = "other"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SLOW = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
_WAITS = (10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0, 7 * 24 * 3600.0)
_LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0)
_FEW = (0, 1, 2, 3, 5, 8, 13, 21)
_SHARES = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Counted(Protocol):
    """A cache that counts since it was made."""

    @property
    def hits(self) -> int: ...

    @property
    def misses(self) -> int: ...


class Linked(Protocol):
    """A part that does without its Redis while that does not answer, and counts how often that began."""

    @property
    def outages(self) -> int: ...


class Metrics:
    """The metrics of one process.

    Attributes:
        registry: Where they are read from.
    """

    def __init__(self, *, most: int = MOST) -> None:
        """
        Args:
            most: Values a label may have before others are counted together.
        """
        self.registry = registry = CollectorRegistry()
        self._most = most
        self._values: dict[str, set[str]] = {}
        self._caches = _Caches()
        registry.register(self._caches)
        self._links = _Links()
        registry.register(self._links)
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"quarterdeck_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"quarterdeck_{name}", text, labels, buckets=buckets, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            made = Gauge(f"quarterdeck_{name}", text, registry=registry)
            made.set(float("nan"))  # nobody looked yet
            return made

        self._requests = counter("http_requests", "Requests answered", "method", "route", "status")
        self._request_s = histogram("http_request_seconds", "Until an answer began", _QUICK, "method", "route")
        self._calls = counter("grpc_calls", "Calls over gRPC that ended", "method", "status")
        self._call_s = histogram("grpc_call_seconds", "Until a call over gRPC ended", _QUICK, "method")
        self._sent_away = counter("sent_away", "Requests refused that may be served another time", "transport", "reason")
        self._deliveries = counter("deliveries", "Attempts to deliver a notice", "sink", "outcome")
        self._runs = counter("runs_started", "Runs begun", "agent")
        self._ended = counter("runs_ended", "Runs ended", "outcome", "reason")
        self._tagged = counter("runs_tagged", "Runs begun, by traffic tag", "tag", "value")
        self._tagged_ended = counter("runs_tagged_ended", "Runs ended, by traffic tag", "tag", "value", "outcome")
        self._replies = counter("model_replies", "Replies of models", "model", "finish")
        self._attempts = counter("model_attempts", "HTTP attempts the replies took", "model")
        self._reply_s = histogram("model_reply_seconds", "Until a reply was whole", _SLOW, "model")
        self._tokens = counter("model_tokens", "Tokens of prompts and replies", "model", "kind")
        self._cost = counter("cost_usd", "Money spent, where the price is known", "spent_on", "model")
        self._unpriced = counter("model_replies_unpriced", "Replies of models without a known price", "model")
        self._tools = counter("tool_calls", "Calls of tools that ended", "tool", "status", "error")
        self._tool_s = histogram("tool_seconds", "Execution of a call", _QUICK, "tool")
        self._decisions = counter("policy_decisions", "Calls decided by policy", "verdict")
        self._guards = counter("guardrails_fired", "Guards that had something to say", "layer", "verdict")
        self._searches = counter("retrieval_searches", "Searches", "mode", "outcome")
        self._search_s = histogram("retrieval_seconds", "A search, caches included", _QUICK, "mode")
        self._found = histogram("retrieval_passages", "Passages a search found", _FEW, "mode")
        self._answers = counter("answers", "Settled answers", "agent", "confidence", "cited")
        self._reviews = counter("answers_to_review", "Answers a person should look at", "agent")
        self._rejected = counter("answers_rejected", "Answers sent back to the model")
        self._citations = counter("citations", "Sentences that name a passage")
        self._support = histogram("citation_support", "Share of a sentence its passage supports", _SHARES)
        self._requested = counter("approvals_requested", "Drafts that wait for a person")
        self._decided = counter("approvals_decided", "Drafts decided", "outcome")
        self._decide_s = histogram("approval_wait_seconds", "From draft to decision", _WAITS)
        self._changes = counter("configuration_changes", "Files found changed while runs go on", "file", "outcome")
        self._documents = counter("documents_ingested", "Documents brought in", "outcome")
        self._lag_s = histogram("event_loop_lag_seconds", "By how much a timer of the event loop came too late", _LAGS)
        self._most_lag_s = gauge("event_loop_lag_largest_seconds", "The largest of them since the start")
        self._lag_most = 0.0
        self._pending = gauge("approvals_pending", "Drafts that wait now")
        self._oldest_s = gauge("approvals_oldest_seconds", "Age of the draft that waits longest")
        self._queued = gauge("runs_queued", "Runs that want a worker now")

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            route: The route's template, never the path that was asked for.
            seconds: Until the first byte of the answer.
        """
        method, route = method if method in _METHODS else OTHER, self._bounded("route", route)
        self._requests.labels(method, route, str(status)).inc()
        self._request_s.labels(method, route).observe(seconds, _exemplar())

    def call(self, method: str, status: str, seconds: float) -> None:
        """A call over gRPC ended.

        Args:
            method: Package, service and method, of those that are served.
            status: Name of the status.
            seconds: From its beginning to its end.
        """
        method = self._bounded("method", method)
        self._calls.labels(method, status).inc()
        self._call_s.labels(method).observe(seconds, _exemplar())

    def sent_away(self, transport: str, reason: str) -> None:
        """Somebody was told to come back: by a rate limit, for want of room, or because a part does not answer."""
        self._sent_away.labels(transport, self._bounded("refusal", reason)).inc()

    def delivery(self, sink: str, outcome: str) -> None:
        """An attempt to deliver a notice ended: `delivered`, `failed` and tried again, or `dead`."""
        self._deliveries.labels(self._bounded("sink", sink), outcome).inc()

    def run_started(self, agent: str, tags: Mapping[str, str] | None = None) -> None:
        """A run was begun; `tags` are the named traffic tags of its request."""
        self._runs.labels(self._bounded("agent", agent)).inc()
        for name, value in (tags or {}).items():
            self._tagged.labels(*self._tag(name, value)).inc()

    def run_ended(self, outcome: str, reason: str, tags: Mapping[str, str] | None = None) -> None:
        """A run ended: `done`, `failed` or `cancelled`; `reason` is its stop reason or error code."""
        self._ended.labels(outcome, self._bounded("reason", reason)).inc()
        for name, value in (tags or {}).items():
            self._tagged_ended.labels(*self._tag(name, value), outcome).inc()

    def reply(self, model: str, finish: str, usage: Usage, attempts: int) -> None:
        """A model replied, after `attempts` requests."""
        model = self._bounded("model", model)
        self._replies.labels(model, self._bounded("finish", finish)).inc()
        self._attempts.labels(model).inc(max(0, attempts))
        self._reply_s.labels(model).observe(max(0.0, usage.seconds), _exemplar())
        counts = {
            "prompt": usage.prompt_tokens,
            "completion": usage.completion_tokens,
            "cached": usage.cached_tokens,
            "reasoning": usage.reasoning_tokens,
        }
        for kind, count in counts.items():
            self._tokens.labels(model, kind).inc(max(0, count))
        if usage.cost_usd is None:
            self._unpriced.labels(model).inc()
        else:
            self._cost.labels("answers", model).inc(max(0.0, usage.cost_usd))

    def tool(self, name: str, status: str, error: str | None, seconds: float) -> None:
        """A call ended. A name that no tool has was made up by the model and is not told apart."""
        name = OTHER if error == "unknown_tool" else self._bounded("tool", name)
        self._tools.labels(name, status, self._bounded("error", error or "none")).inc()
        if seconds > 0:
            self._tool_s.labels(name).observe(seconds, _exemplar())

    def decision(self, verdict: str) -> None:
        """Policy decided a call."""
        self._decisions.labels(verdict).inc()

    def guard(self, layer: str, verdict: str) -> None:
        """A guard fired."""
        self._guards.labels(self._bounded("layer", layer), self._bounded("verdict", verdict)).inc()

    def search(self, mode: str, found: int, seconds: float, usage: Usage | None = None) -> None:
        """A search ended; `mode` is what it could really do, or ``failed``."""
        mode = self._bounded("mode", mode)
        outcome = "failed" if mode == "failed" else "found" if found else "empty"
        self._searches.labels(mode, outcome).inc()
        self._search_s.labels(mode).observe(seconds, _exemplar())
        if outcome != "failed":
            self._found.labels(mode).observe(found)
        if usage is not None and usage.cost_usd:
            self._cost.labels("retrieval", "").inc(usage.cost_usd)

    def answer(self, agent: str, confidence: str, supports: Sequence[float], *, review: bool) -> None:
        """An answer was settled, with the support of each of its citations."""
        agent = self._bounded("agent", agent)
        self._answers.labels(agent, confidence, "yes" if supports else "no").inc()
        self._reviews.labels(agent).inc(review)
        self._citations.inc(len(supports))
        for support in supports:
            self._support.observe(support)

    def answer_rejected(self) -> None:
        """An answer broke a rule and went back to the model."""
        self._rejected.inc()

    def approval_requested(self) -> None:
        """A draft waits for a person."""
        self._requested.inc()

    def approval_decided(self, outcome: str, waited_s: float) -> None:
        """A draft was approved or rejected, expired, or was withdrawn with its run."""
        self._decided.labels(outcome).inc()
        self._decide_s.observe(max(0.0, waited_s))

    def configuration_changed(self, file: str, outcome: str) -> None:
        """A file was found changed: it is `in_force`, was `refused` for what it says, or `waits` for the audit log."""
        self._changes.labels(file, outcome).inc()

    def document(self, outcome: str) -> None:
        """A document was brought in, or not."""
        self._documents.labels(outcome).inc()

    def loop_lag(self, seconds: float) -> None:
        """A timer of the event loop came so much too late."""
        self._lag_s.observe(seconds)
        self._lag_most = max(self._lag_most, seconds)
        self._most_lag_s.set(self._lag_most)

    def standing(self, *, pending: int, oldest_s: float, queued: int) -> None:
        """How things stand now: drafts that wait, the age of the oldest, runs that want a worker."""
        self._pending.set(pending)
        self._oldest_s.set(oldest_s)
        self._queued.set(queued)

    def unknown_standing(self) -> None:
        """Nobody could find out how things stand."""
        for one in (self._pending, self._oldest_s, self._queued):
            one.set(float("nan"))

    def watch_cache(self, name: str, cache: Counted) -> None:
        """Show how often a cache gave what it was asked for."""
        self._caches.add(name, cache)

    def watch_redis(self, part: str, link: Linked) -> None:
        """Show how often a part of this process found that Redis does not answer."""
        self._links.add(part, link)

    def rendered(self, accept: str = "") -> tuple[bytes, str]:
        """All of it and its media type: OpenMetrics, with trace ids beside the times, for who accepts that."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type

    def _tag(self, name: str, value: str) -> tuple[str, str]:
        return self._bounded("tag", name), self._bounded(f"tag:{name}", value)

    def _bounded(self, label: str, value: str) -> str:
        known = self._values.setdefault(label, set())
        if value not in known:
            if len(known) >= self._most:
                return OTHER
            known.add(value)
        return value


class MetricsPage:
    """Shows metrics to whoever can reach a port, from a thread of its own: numbers and bounded labels, no content.

    Attributes:
        port: It listens on.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        """Args: port: 0 for a free one. Raises OSError if it cannot be listened on."""
        self._server, self._thread = start_http_server(port, host, metrics.registry)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stop showing them; waits for who is being answered."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Caches(Collector):
    """Counts that caches keep themselves, read when somebody asks."""

    def __init__(self) -> None:
        self._caches: dict[str, Counted] = {}
        self._told: dict[tuple[str, str], int] = {}

    def add(self, name: str, cache: Counted) -> None:
        self._caches[name] = cache

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "quarterdeck_cache_lookups", "Keys that a cache was asked for", labels=["cache", "result"]
        )
        for name, cache in self._caches.items():
            for result, count in (("hit", cache.hits), ("miss", cache.misses)):
                # A hit that turns out to be stale is taken back, and a counter that falls would pass for a restart.
                told = self._told[name, result] = max(count, self._told.get((name, result), 0))
                family.add_metric([name, result], told)
        yield family


class _Links(Collector):
    """Counts that parts with a Redis keep themselves, read when somebody asks."""

    def __init__(self) -> None:
        self._links: dict[str, Linked] = {}

    def add(self, part: str, link: Linked) -> None:
        self._links[part] = link

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily("quarterdeck_redis_outages", "Times Redis was found not to answer", labels=["part"])
        for part, link in self._links.items():
            family.add_metric([part], link.outages)
        yield family


def _exemplar() -> dict[str, str] | None:
    trace_id = bound_ids().get("trace_id")
    return {"trace_id": trace_id} if trace_id else None
