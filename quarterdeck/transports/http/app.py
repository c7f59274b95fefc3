"""The HTTP application: routes, guards, and the objects they serve."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.service.access import Access
from quarterdeck.service.catalogue import Catalogue
from quarterdeck.service.desk import Desk
from quarterdeck.service.documents import Documents
from quarterdeck.service.embeddings import Embeddings
from quarterdeck.service.limits import RateLimits
from quarterdeck.service.repeats import Repeats
from quarterdeck.service.search import Search
from quarterdeck.service.spending import Spending
from quarterdeck.service.standing import Standing
from quarterdeck.service.stays import Stays
from quarterdeck.store.limits import MemoryLimits
from quarterdeck.telemetry.tags import TagRules
from quarterdeck.transports.http.guards import BodyLimits, BoundedBody, Envelope, Heads, KnownNames
from quarterdeck.transports.http.handlers import on_http_exception, on_invalid, on_quarterdeck_error
from quarterdeck.transports.http.measured import Measured
from quarterdeck.transports.http.rates import RatesTold
from quarterdeck.transports.http.routes import (
    approvals,
    batch,
    chat,
    costs,
    documents,
    health,
    metrics,
    runs,
    search,
    sessions,
    stories,
)
from quarterdeck.transports.http.routes import catalogue as catalogued
from quarterdeck.transports.http.routes.health import Check
from quarterdeck.transports.openai_compat import routes as openai
from quarterdeck.transports.proxies import Proxies
from quarterdeck.workflow.approvals import Approvals
from quarterdeck.workflow.effects import Effects

__all__ = ["Backing", "HttpLimits", "http_app"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What a request may cost and how long things may take.

    Attributes:
        hosts: Names the server is called by; empty for any.
        origins: Foreign pages that may call.
        proxies: Networks of proxies in front, which say who is calling.
        max_upload_bytes: Of a document that is brought in; as base64 it takes a third more than its own size.
    """

    hosts: Collection[str] = ()
    origins: Collection[str] = ()
    proxies: Collection[str] = ()
    max_body_bytes: int = 1_048_576
    body_timeout_s: float = 10.0
    max_upload_bytes: int = 45_000_000
    upload_timeout_s: float = 120.0
    answer_timeout_s: float = 60.0
    heartbeat_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """What the routes rest on; each stands in `app.state` under its name. Opening and closing it is its maker's affair.

    Attributes:
        search: Searches without a model; None for a server without `POST /api/v1/search`.
        catalogue: Tells agents and tools; None for a server without `GET /api/v1/agents` and `/tools`.
        spending: Tells costs; None for a server without `GET /api/v1/costs`.
        embeddings: Makes vectors; None for a server without an embedder.
        standing: Where requests are counted and `GET /metrics` reads; None for a server that measures nothing.
        repeats: Knows what was answered under a key; None for a server where only questions and the like know their keys.
        rates: How often callers may ask; as often as they like by default.
        stays: Ends streams of who may read no longer; None for looks as often as usual.
    """

    desk: Desk
    approvals: Approvals
    effects: Effects
    documents: Documents
    access: Access
    checks: Mapping[str, Check]
    search: Search | None = None
    catalogue: Catalogue | None = None
    spending: Spending | None = None
    embeddings: Embeddings | None = None
    standing: Standing | None = None
    repeats: Repeats | None = None
    rates: RateLimits = field(default_factory=lambda: RateLimits((), MemoryLimits()))
    stays: Stays | None = None


def http_app(backing: Backing, *, version: str, limits: HttpLimits | None = None, tags: TagRules | None = None) -> FastAPI:
    """An ASGI application over a desk.

    Args:
        tags: Traffic tags that requests may bring along; None for none.
    """
    limits = limits or HttpLimits()
    app = FastAPI(
        title="Quarterdeck",
        version=version,
        openapi_url=None,  # served by a route of ours, which declares who may see it
        redirect_slashes=False,  # a redirect names scheme and host as this process sees them, which behind a proxy is wrong
        middleware=_guards(backing.standing, limits, tags or TagRules()),
        exception_handlers={
            QuarterdeckError: on_quarterdeck_error,
            HTTPException: on_http_exception,
            RequestValidationError: on_invalid,
        },
    )
    for part in fields(backing):
        setattr(app.state, part.name, getattr(backing, part.name))
    app.state.stays = backing.stays or Stays(backing.access)
    app.state.answer_timeout_s = limits.answer_timeout_s
    app.state.heartbeat_s = limits.heartbeat_s
    for router in _routers(backing):
        app.include_router(router)
    return app


def _guards(standing: Standing | None, limits: HttpLimits, tags: TagRules) -> list[Middleware]:
    """What a request passes before it reaches a route, the outermost first."""
    uploads = BodyLimits(max_bytes=limits.max_upload_bytes, timeout_s=limits.upload_timeout_s)
    return [
        *([Middleware(Measured, metrics=standing.metrics)] if standing else ()),
        Middleware(Envelope, tags=tags),
        Middleware(KnownNames, hosts=limits.hosts, origins=limits.origins, proxies=Proxies(limits.proxies)),
        *_cors(limits.origins),
        Middleware(RatesTold),
        Middleware(Heads),
        Middleware(
            BoundedBody,
            max_bytes=limits.max_body_bytes,
            timeout_s=limits.body_timeout_s,
            uploads={documents.UPLOADS: uploads},
        ),
    ]


def _routers(backing: Backing) -> list[APIRouter]:
    return [
        chat.router,
        batch.router,
        runs.router,
        stories.router,
        approvals.router,
        sessions.router,
        *([catalogued.router] if backing.catalogue else ()),
        *([costs.router] if backing.spending else ()),
        documents.router,
        health.router,
        openai.router,
        *([search.router] if backing.search else ()),
        *([metrics.router] if backing.standing else ()),
    ]


def _cors(origins: Collection[str]) -> list[Middleware]:
    """What browsers need to be told for foreign pages that may call: keys travel in a header, never in a cookie."""
    if not origins:
        return []
    headers = ["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-API-Key", "X-Request-Id"]
    methods = ["GET", "POST", "PUT", "DELETE"]
    return [Middleware(CORSMiddleware, allow_origins=list(origins), allow_methods=methods, allow_headers=headers)]
