"""Names of implementations that are loaded only where configuration asks for them. A test resolves every one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from quarterdeck.core.errors import Misconfigured

__all__ = [
    "ARCHIVES",
    "BREAKERS",
    "BUSES",
    "CACHES",
    "DISPATCHERS",
    "EMBEDDERS",
    "EVENT_LOGS",
    "INDEXES",
    "LIMITS",
    "PROVIDERS",
    "SCHEMAS",
    "STATES",
    "STORES",
    "resolve",
]

_POSTGRES = "quarterdeck.store.postgres_store:open_postgres"
STORES: Mapping[str, str] = {
    "sqlite": "quarterdeck.store.sqlite_store:open_sqlite",
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
}
_PROCRASTINATE = "quarterdeck.workflow.dispatch_procrastinate:ProcrastinateDispatcher"
DISPATCHERS: Mapping[str, str] = {"postgresql": _PROCRASTINATE, "postgres": _PROCRASTINATE}
_POSTGRES_SCHEMA = "quarterdeck.store.postgres:migrate_postgres"
SCHEMAS: Mapping[str, str] = {
    "sqlite": "quarterdeck.store.sqlite_store:migrate_sqlite",
    "postgresql": _POSTGRES_SCHEMA,
    "postgres": _POSTGRES_SCHEMA,
}
_POSTGRES_INDEX = "quarterdeck.knowledge.indexes.postgres:PostgresIndex"
_QDRANT = "quarterdeck.knowledge.indexes.qdrant:QdrantIndex"
INDEXES: Mapping[str, str] = {
    "sqlite": "quarterdeck.knowledge.indexes.sqlite:SqliteIndex",
    "postgresql": _POSTGRES_INDEX,
    "postgres": _POSTGRES_INDEX,
    "qdrant": _QDRANT,
    "qdrants": _QDRANT,
}
EMBEDDERS: Mapping[str, str] = {
    "e5": "quarterdeck.knowledge.embedders.e5:E5Embedder",
    "minilm": "quarterdeck.knowledge.embedders.minilm:MiniLMEmbedder",
}
_REDIS_CACHE = "quarterdeck.store.cache_redis:RedisCache"
CACHES: Mapping[str, str] = {"redis": _REDIS_CACHE, "rediss": _REDIS_CACHE, "unix": _REDIS_CACHE}
# What documents can be copied from into another index.
_POSTGRES_ARCHIVE = "quarterdeck.knowledge.indexes.postgres_archive:PostgresArchive"
ARCHIVES: Mapping[str, str] = {
    "sqlite": "quarterdeck.knowledge.indexes.sqlite_archive:SqliteArchive",
    "postgresql": _POSTGRES_ARCHIVE,
    "postgres": _POSTGRES_ARCHIVE,
}
_REDIS_STATES = "quarterdeck.store.keyvalue_redis:RedisKeyValue"
STATES: Mapping[str, str] = {
    "file": "quarterdeck.store.keyvalue:FolderKeyValue",
    "redis": _REDIS_STATES,
    "rediss": _REDIS_STATES,
    "unix": _REDIS_STATES,
    "s3": "quarterdeck.store.keyvalue_s3:S3KeyValue",
}
_REDIS_BUS = "quarterdeck.store.bus_redis:RedisBus"
BUSES: Mapping[str, str] = {"redis": _REDIS_BUS, "rediss": _REDIS_BUS, "unix": _REDIS_BUS}
_REDIS_LOG = "quarterdeck.store.log_redis:RedisLog"
EVENT_LOGS: Mapping[str, str] = {"redis": _REDIS_LOG, "rediss": _REDIS_LOG, "unix": _REDIS_LOG}
_REDIS_BREAKER = "quarterdeck.store.breaker_redis:RedisBreaker"
BREAKERS: Mapping[str, str] = {"redis": _REDIS_BREAKER, "rediss": _REDIS_BREAKER, "unix": _REDIS_BREAKER}
_REDIS_LIMITS = "quarterdeck.store.limits_redis:RedisLimits"
LIMITS: Mapping[str, str] = {"redis": _REDIS_LIMITS, "rediss": _REDIS_LIMITS, "unix": _REDIS_LIMITS}
# By dialect; which provider speaks which is told in `providers`.
PROVIDERS: Mapping[str, str] = {
    "openai": "quarterdeck.models.openai:OpenAIModel",
    "openai-responses": "quarterdeck.models.responses:ResponsesModel",
    "anthropic": "quarterdeck.models.anthropic:AnthropicModel",
    "azure": "quarterdeck.models.azure:AzureModel",
}


_NAME = re.compile(r"[A-Za-z0-9+._-]+")


def resolve(table: Mapping[str, str], name: str, what: str) -> Any:
    """The class or function `table` has under `name`. Raises Misconfigured if it has none, or cannot be imported."""
    target = table.get(name)
    if target is None:
        # A name may come from a mistaken URL; what no name could be may hold its password, and is not repeated.
        named = f" {name!r}" if _NAME.fullmatch(name) else ""
        raise Misconfigured(f"there is no {what}{named} in this version; there are: {', '.join(table)}")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise Misconfigured(f"{what} {name!r} needs a package that is not installed: {error}") from error
