"""Qdrant's REST interface over the client's own engine, as a transport of its HTTP client.

Requests are read by the models made from the server's own description, which know no other fields, and answers are written
by them: what passes here has the form a server takes. What a server makes of it is not shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from pydantic import BaseModel, TypeAdapter
from qdrant_client import AsyncQdrantClient, models

Handler = Callable[[str, bytes], Awaitable[object]]

_SELECTOR: TypeAdapter[models.PointsSelector] = TypeAdapter(models.PointsSelector)


class Wire(httpx.AsyncBaseTransport):
    """Answers what `engine` answers."""

    def __init__(self, engine: AsyncQdrantClient) -> None:
        self._engine = engine
        points = "/collections/([^/]+)/points"
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/()"): self._info,
            ("GET", "/collections/([^/]+)/exists"): self._exists,
            ("PUT", "/collections/([^/]+)"): self._create,
            ("PUT", "/collections/([^/]+)/index"): self._index,
            ("PUT", points): self._upsert,
            ("POST", points): self._retrieve,
            ("POST", points + "/scroll"): self._scroll,
            ("POST", points + "/count"): self._count,
            ("POST", points + "/query"): self._query,
            ("POST", points + "/delete"): self._delete,
            ("POST", points + "/payload"): self._set_payload,
            ("POST", points + "/payload/delete"): self._delete_payload,
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for (method, path), handler in self._routes.items():
            match = re.fullmatch(path, request.url.path)
            if match and method == request.method:
                result = _plain(await handler(match[1], await request.aread()))
                body = result if request.url.path == "/" else {"result": result, "status": "ok", "time": 0.0}
                return httpx.Response(200, json=body, request=request)
        raise AssertionError(f"the server has no {request.method} {request.url.path} here")

    async def _info(self, name: str, body: bytes) -> object:
        return await self._engine.info()

    async def _exists(self, name: str, body: bytes) -> object:
        return {"exists": await self._engine.collection_exists(name)}

    async def _create(self, name: str, body: bytes) -> object:
        asked = models.CreateCollection.model_validate_json(body)
        return await self._engine.create_collection(
            name, vectors_config=asked.vectors, sparse_vectors_config=asked.sparse_vectors
        )

    async def _index(self, name: str, body: bytes) -> object:
        models.CreateFieldIndex.model_validate_json(body)  # the engine has no use for it
        return _done()

    async def _upsert(self, name: str, body: bytes) -> object:
        asked = models.PointsList.model_validate_json(body)
        return await self._engine.upsert(name, asked.points, update_filter=asked.update_filter)

    async def _retrieve(self, name: str, body: bytes) -> object:
        asked = models.PointRequest.model_validate_json(body)
        payload = True if asked.with_payload is None else asked.with_payload
        return await self._engine.retrieve(name, asked.ids, with_payload=payload)

    async def _scroll(self, name: str, body: bytes) -> object:
        asked = models.ScrollRequest.model_validate_json(body)
        points, offset = await self._engine.scroll(
            name,
            asked.filter,
            limit=asked.limit or 10,
            offset=asked.offset,
            with_payload=True if asked.with_payload is None else asked.with_payload,
            with_vectors=asked.with_vector or False,
        )
        return {"points": points, "next_page_offset": offset}

    async def _count(self, name: str, body: bytes) -> object:
        asked = models.CountRequest.model_validate_json(body)
        return await self._engine.count(name, asked.filter, exact=bool(asked.exact))

    async def _query(self, name: str, body: bytes) -> object:
        asked = models.QueryRequest.model_validate_json(body)
        query: Any = asked.query.nearest if isinstance(asked.query, models.NearestQuery) else asked.query
        return await self._engine.query_points(
            name, query=query, using=asked.using, query_filter=asked.filter, limit=asked.limit or 10
        )

    async def _delete(self, name: str, body: bytes) -> object:
        return await self._engine.delete(name, _SELECTOR.validate_json(body))

    async def _set_payload(self, name: str, body: bytes) -> object:
        asked = models.SetPayload.model_validate_json(body)
        return await self._engine.set_payload(name, asked.payload, asked.filter or asked.points or [])

    async def _delete_payload(self, name: str, body: bytes) -> object:
        asked = models.DeletePayload.model_validate_json(body)
        return await self._engine.delete_payload(name, asked.keys, asked.filter or asked.points or [])


def _done() -> models.UpdateResult:
    return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def _plain(result: object) -> Any:
    if isinstance(result, BaseModel):
        return json.loads(result.model_dump_json())
    if isinstance(result, dict):
        return {key: _plain(value) for key, value in result.items()}
    return [_plain(one) for one in result] if isinstance(result, list) else result
