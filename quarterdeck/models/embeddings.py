"""Texts as vectors: one protocol, and the endpoint most providers offer."""

from __future__ import annotations

import base64
import binascii
import math
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias

import anyio

from quarterdeck.core.context import Context
from quarterdeck.core.errors import Forbidden, InvalidInput, ModelInvalid, QuarterdeckError, TooLarge, Unavailable
from quarterdeck.core.labels import NOBODY, Label
from quarterdeck.core.messages import Message, Role, Text
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, Model, ModelRequest
from quarterdeck.models.endpoint import Endpoint
from quarterdeck.models.listener import count
from quarterdeck.models.tokens import count_tokens
from quarterdeck.net.client import GuardedClient

__all__ = ["Embedded", "Embedder", "OpenAIEmbedder"]

_UNLABELLED = Label(readers=NOBODY)  # only their length is looked at

Vector: TypeAlias = "array[float]"  # a string, since 3.11 cannot subscript the class


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What an embedder gave.

    Attributes:
        vectors: 32-bit floats, one vector per text, in the order of the texts.
    """

    vectors: tuple[Vector, ...]
    usage: Usage = field(default_factory=Usage)


class Embedder(Protocol):
    """Turns texts into vectors of one length whose nearness is nearness in meaning."""

    @property
    def id(self) -> str:
        """Names everything a vector depends on. Vectors of two ids are never compared."""
        ...

    @property
    def dim(self) -> int:
        """Length of every vector."""
        ...

    @property
    def languages(self) -> frozenset[str] | None:
        """Languages whose meaning it knows, as ISO 639 codes; None for all. Text in others is better found by its words."""
        ...

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        """The vectors of `texts`, however many, within ``ctx.deadline``.

        Raises:
            InvalidInput: A text is empty.
            ModelUnavailable, ModelRefused, ModelInvalid, DeadlineExceeded: As for models.
        """
        ...


class OpenAIEmbedder:
    """Vectors from an OpenAI-compatible ``/embeddings``, asked for in batches, several at once."""

    def __init__(
        self,
        name: str,
        *,
        dim: int,
        base_url: str,
        api_key: str,
        client: GuardedClient,
        shorten: bool = False,
        batch_size: int = 128,
        batch_tokens: int = 100_000,
        concurrency: int = 4,
        encoding: Literal["base64", "float"] = "base64",
        timeout_s: float = 60.0,
        languages: frozenset[str] | None = None,
        wrap: Callable[[Model], Model] = lambda model: model,
    ) -> None:
        """
        Args:
            name: ``provider:name``; what stands behind the colon is sent.
            dim: Every vector is checked against it.
            shorten: Ask for `dim` numbers of a model that can give more.
            batch_size: Texts of one request.
            batch_tokens: About, of one request; a text that is longer goes alone.
            concurrency: Requests at once.
            encoding: How vectors are sent; base64 is a quarter of the size, and not every server knows it.
            languages: Those the model knows, None for all.
            wrap: What repeats, meters or limits a model does the same for each batch.
        """
        self._name = name
        self._dim = dim
        self._batch_size = batch_size
        self._batch_tokens = batch_tokens
        self._concurrency = concurrency
        self._languages = languages
        self._wrap = wrap
        key = api_key.strip()
        self._endpoint = Endpoint(
            name,
            base_url.rstrip("/") + "/embeddings",
            key=key,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            client=client,
            timeout_s=timeout_s,
        )
        self._fields: dict[str, Any] = {"model": name.partition(":")[2] or name, "encoding_format": encoding}
        if shorten:
            self._fields["dimensions"] = dim

    @property
    def id(self) -> str:
        return f"{self._name}/{self._dim}"

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def languages(self) -> frozenset[str] | None:
        return self._languages

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        if any(not text for text in texts):
            raise InvalidInput("an empty text has no vector")
        batches = [
            _Batch(self._name, self._endpoint, {**self._fields, "input": batch}, self._dim) for batch in self._cut(texts)
        ]
        usages: list[Usage] = []
        failures: list[QuarterdeckError] = []
        turn = anyio.Semaphore(self._concurrency)
        async with anyio.create_task_group() as group:

            async def ask(batch: _Batch) -> None:
                async with turn:
                    try:
                        completion = await self._wrap(batch).complete(batch.request, ctx)
                    except QuarterdeckError as error:
                        # Told outside, since a task group would wrap it.
                        failures.append(error)
                        group.cancel_scope.cancel()
                    else:
                        usages.append(completion.usage)

            for batch in batches:
                group.start_soon(ask, batch)
        if failures:
            raise failures[0]
        vectors = tuple(vector for batch in batches for vector in batch.vectors)
        return Embedded(vectors=vectors, usage=sum(usages, Usage()))

    def _cut(self, texts: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        tokens = 0
        for text in texts:
            size = count_tokens(text)
            if batch and (len(batch) == self._batch_size or tokens + size > self._batch_tokens):
                yield batch
                batch, tokens = [], 0
            batch.append(text)
            tokens += size
        if batch:
            yield batch


class _Batch:
    """One request in the shape of a model call, so that what wraps models wraps it: its completion is what it consumed."""

    def __init__(self, name: str, endpoint: Endpoint, payload: dict[str, Any], dim: int) -> None:
        self.name = name
        self.vectors: list[Vector] = []
        self._endpoint = endpoint
        self._payload = payload
        self._dim = dim

    @property
    def request(self) -> ModelRequest:
        """What a budget needs to see of it: the texts, and that nothing is written."""
        texts = tuple(Text(text=text, label=_UNLABELLED) for text in self._payload["input"])
        return ModelRequest(messages=(Message(role=Role.USER, parts=texts),), max_tokens=0)

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        started = time.monotonic()
        try:
            async with self._endpoint.send(self._payload, ctx) as reply:
                if not 200 <= reply.status < 300:
                    raise self._endpoint.error(reply, await self._endpoint.fault(reply))
                said = self._endpoint.decoded(await reply.read(), reply)
        except (Forbidden, TooLarge, Unavailable) as error:
            told = self._endpoint.told(error, ctx)
            if told is error:
                raise
            raise told from error
        usage = replace(self._usage(said), seconds=time.monotonic() - started)
        try:
            self.vectors = self._read(said.get("data"))
        except (ValueError, TypeError, OverflowError) as error:
            raise ModelInvalid(f"{self.name} gave no usable vectors: {error}", usage=usage) from error
        return Completion(usage=usage, model=self.name)

    def _read(self, data: Any) -> list[Vector]:
        texts = self._payload["input"]
        if not isinstance(data, list) or len(data) != len(texts):
            raise ValueError(f"{len(texts)} vectors were asked for")
        vectors: list[Vector | None] = [None] * len(texts)
        for place, item in enumerate(data):
            if not isinstance(item, dict):
                raise ValueError("a vector is no object")
            index = item.get("index", place)
            if not isinstance(index, int) or not 0 <= index < len(texts) or vectors[index] is not None:
                raise ValueError(f"the index {index!r} of a vector is wrong")
            vectors[index] = self._vector(item.get("embedding"))
        return [vector for vector in vectors if vector is not None]

    def _vector(self, sent: Any) -> Vector:
        vector: Vector = array("f")
        if isinstance(sent, str):
            try:
                vector.frombytes(base64.b64decode(sent, validate=True))
            except binascii.Error as error:
                raise ValueError("a vector is not base64") from error
            if sys.byteorder == "big":
                vector.byteswap()  # they are sent little-endian
        elif isinstance(sent, list):
            vector.extend(sent)
        if len(vector) != self._dim:
            raise ValueError(f"a vector has {len(vector)} numbers instead of {self._dim}")
        if not all(map(math.isfinite, vector)):
            raise ValueError("a vector holds what is no finite number")
        if not any(vector):
            raise ValueError("a vector is all zeros: it is near to nothing")
        return vector

    def _usage(self, said: dict[str, Any]) -> Usage:
        reported = said.get("usage")
        tokens = count(reported.get("prompt_tokens")) if isinstance(reported, dict) else None
        if tokens is not None:
            return Usage(prompt_tokens=tokens, cost_usd=None)
        return Usage(prompt_tokens=sum(map(count_tokens, self._payload["input"])), cost_usd=None, estimated=True)
