"""The way to a Qdrant server: its address, the two collections of an index, and what its failures mean here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from quarterdeck.core.errors import Misconfigured, StoreUnavailable
from quarterdeck.knowledge.analyze import ANALYZER
from quarterdeck.knowledge.base import Space
from quarterdeck.knowledge.indexes.qdrant_points import DENSE, WORDS, record_id

__all__ = ["NEVER", "Names", "connect", "prepare", "reaching", "scroll"]

OLDEST = (1, 16)  # the first server that writes a point under a condition
PAGE = 500  # points read at once

_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")
_IDENTITY = record_id("7d6f7e0a-8d2e-5b0c-8f39-0d3c3f6c8a01", 0)
_KEYWORD = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD)
_TENANT = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
_NUMBER = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=True)
_YES_NO = models.BoolIndexParams(type=models.BoolIndexType.BOOL)
_INDEXES: Mapping[str, Mapping[str, Any]] = {
    "passages": {
        "tenant": _TENANT,
        "key": _KEYWORD,
        "batch": _KEYWORD,
        "groups": _KEYWORD,
        "meta": _KEYWORD,
        "number": _NUMBER,
    },
    "records": {
        "tenant": _TENANT,
        "key": _KEYWORD,
        "groups": _KEYWORD,
        "number": _NUMBER,
        "edition": _NUMBER,
        "past": _YES_NO,
        "gone": _YES_NO,
        "tidy": _YES_NO,
    },
}

NEVER = models.Filter(must=[models.FieldCondition(key="number", match=models.MatchValue(value=-1))])
"""No point meets it, so what is written under it is written only where nothing is."""


@dataclass(frozen=True, slots=True)
class Names:
    """The collections of one index."""

    prefix: str

    @property
    def passages(self) -> str:
        return f"{self.prefix}-passages"

    @property
    def records(self) -> str:
        return f"{self.prefix}-records"


def connect(url: str, api_key: str | None, timeout_s: float) -> tuple[AsyncQdrantClient, Names]:
    """A client for ``qdrant[s]://host:port/prefix``, or for ``qdrant+local:///path`` (one process, exact search, for tests).

    Raises:
        Misconfigured: It is no such address.
        StoreUnavailable: The folder is in use.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or 6333
    except ValueError as error:
        raise Misconfigured(f"the vector store's address has a port that is no number: {error}") from error
    if parts.scheme == "qdrant+local" and not host and len(parts.path) > 1:
        return _local(unquote(parts.path)), Names("quarterdeck")
    prefix = parts.path.strip("/") or "quarterdeck"
    if (
        parts.scheme not in ("qdrant", "qdrants")
        or not host
        or parts.username
        or parts.query
        or not _PREFIX.fullmatch(prefix)
    ):
        raise Misconfigured("a Qdrant index is named qdrant://host:port/prefix, or qdrants:// for TLS")
    client = AsyncQdrantClient(
        host=host,
        port=port,
        https=parts.scheme == "qdrants",
        api_key=api_key or None,
        timeout=max(1, round(timeout_s)),
        check_compatibility=False,  # asked in a thread of its own, and only warned of; `prepare` refuses
        trust_env=False,  # no proxy that happens to stand in the environment
    )
    return client, Names(prefix)


def _local(path: str) -> AsyncQdrantClient:
    try:
        return AsyncQdrantClient(path=path)
    except RuntimeError as error:
        raise StoreUnavailable(f"the folder {path} is in use: {error}") from error


@contextmanager
def reaching(doing: str) -> Iterator[None]:
    """Failures of the engine while `doing` something are outages."""
    try:
        yield
    except (ApiException, QdrantException) as error:
        status = f"status {error.status_code}" if isinstance(error, UnexpectedResponse) else type(error).__name__
        raise StoreUnavailable(f"the Qdrant index cannot be {doing} now ({status})") from error


async def prepare(client: AsyncQdrantClient, names: Names, space: Space, *, indexed: bool) -> None:
    """Make the collections of a new index, or check that an old one was written as this program would write it.

    Many processes may do it at once.

    Raises:
        Misconfigured: The key is wrong, the server is too old, or the index was written with another analyzer or embedder.
        StoreUnavailable: It cannot be reached now.
    """
    try:
        with reaching("opened"):
            version = (await client.info()).version
            if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
                raise Misconfigured(f"the Qdrant server is {version}; at least {'.'.join(map(str, OLDEST))} is needed")
            await _create(client, names.records, {}, {})
            # The identity stands before the first passage can, and who comes second leaves it as it is.
            await client.upsert(names.records, [_identity(space)], update_filter=NEVER)
            dense = {DENSE: models.VectorParams(size=space.dim, distance=models.Distance.COSINE)} if space.dim else {}
            await _check(client, names, space)
            sparse = models.SparseVectorParams(modifier=models.Modifier.IDF)
            await _create(client, names.passages, dense, {WORDS: sparse})
            for kind, collection in (("records", names.records), ("passages", names.passages)):
                for name, schema in _INDEXES[kind].items() if indexed else ():
                    await client.create_payload_index(collection, name, schema)
    except StoreUnavailable as error:
        if isinstance(error.__cause__, UnexpectedResponse) and error.__cause__.status_code in (401, 403):
            raise Misconfigured("the Qdrant server refuses the key; check the vector store's API key") from error
        raise


async def _create(client: AsyncQdrantClient, name: str, dense: dict[str, Any], sparse: dict[str, Any]) -> None:
    if await client.collection_exists(name):
        return
    try:
        await client.create_collection(name, vectors_config=dense, sparse_vectors_config=sparse)
    except ApiException:
        if not await client.collection_exists(name):  # otherwise another process was faster
            raise


def _identity(space: Space) -> models.PointStruct:
    return models.PointStruct(id=_IDENTITY, vector={}, payload=_expected(space))


def _expected(space: Space) -> dict[str, Any]:
    return {"analyzer": f"{ANALYZER}+stems", "embedder": space.embedder, "dim": space.dim, "schema": 1}


async def _check(client: AsyncQdrantClient, names: Names, space: Space) -> None:
    found = (await client.retrieve(names.records, [_IDENTITY]))[0].payload or {}
    for name, value in _expected(space).items():
        if found.get(name) != value:
            raise Misconfigured(
                f"the Qdrant index {names.prefix!r} was written with {name} {found.get(name)!r}, this program has "
                f"{value!r}: name another prefix, or delete its two collections, and ingest again to re-index"
            )


async def scroll(
    client: AsyncQdrantClient,
    name: str,
    wanted: models.Filter,
    payload: models.WithPayloadInterface,
    *,
    vectors: bool = False,
) -> AsyncIterator[models.Record]:
    """All points that meet `wanted`, page by page."""
    offset = None
    while True:
        points, offset = await client.scroll(
            name, scroll_filter=wanted, limit=PAGE, offset=offset, with_payload=payload, with_vectors=vectors
        )
        for point in points:
            yield point
        if offset is None:
            return
