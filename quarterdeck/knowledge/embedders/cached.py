"""Vectors that were made before are not made again, and requests that come together go out as one."""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, InvalidInput, ModelInvalid, ModelRefused, ModelUnavailable
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.base import Vector
from quarterdeck.models.embeddings import Embedded, Embedder
from quarterdeck.store.cache import Shelf

__all__ = ["CachedEmbedder"]

_BYTES = 4  # of a number


@dataclass(eq=False, slots=True, kw_only=True)
class _Batch:
    """Texts of one tenant that go to the embedder together.

    Attributes:
        texts: By key, in the order they came.
        vectors: What came of them; none if whoever leads the batch was stopped by something that concerns nobody else.
        go: Set when the batch waits for company no longer.
    """

    texts: dict[str, str]
    vectors: dict[str, Vector] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    error: Exception | None = None
    go: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)


class _Line:
    """The batches of one tenant that are not done; the last of them may still be gathering."""

    def __init__(self) -> None:
        self.batches: list[_Batch] = []

    def holding(self, key: str) -> _Batch | None:
        return next((batch for batch in self.batches if key in batch.texts), None)

    def gathering(self, room: int, at_once: int) -> _Batch | None:
        """The batch that waits for company, if it has room; one that has not waits no longer."""
        last = self.batches[-1] if self.batches else None
        if last is None or last.go.is_set():
            return None
        if len(last.texts) + room <= at_once:
            return last
        last.go.set()
        return None

    def over(self, batch: _Batch) -> None:
        self.batches.remove(batch)
        if not any(other.go.is_set() for other in self.batches):
            for waiting in self.batches:
                waiting.go.set()


class CachedEmbedder:
    """An embedder that keeps what it made by the hash of the text, and asks for the rest in as few calls as it can.

    Who asks while nothing is under way is served at once. Who asks meanwhile waits a few milliseconds at most for company:
    until the window is over, or the embedder is free. A text that is on its way for somebody else is not asked for twice.
    Tenants share neither vectors nor calls. A shared call is charged and told to the one who began it.

    Attributes:
        calls: How often the embedder was asked.
        texts: How many texts it was asked for.
        joined: Requests that went out in another one's call.
    """

    def __init__(
        self, embedder: Embedder, shelf: Shelf, *, window_s: float = 0.004, joining: int = 32, at_once: int = 128
    ) -> None:
        """
        Args:
            shelf: Where vectors are kept; for seven days, usually.
            window_s: The longest anybody waits for company.
            joining: Texts of the largest request that goes together with others; a larger one would make them wait.
            at_once: Texts of the largest call that is gathered.
        """
        self.calls = 0
        self.texts = 0
        self.joined = 0
        self._embedder = embedder
        self._shelf = shelf
        self._window_s = window_s
        self._joining = joining
        self._at_once = at_once
        self._lines: dict[str, _Line] = {}

    @property
    def id(self) -> str:
        return self._embedder.id

    @property
    def dim(self) -> int:
        return self._embedder.dim

    @property
    def languages(self) -> frozenset[str] | None:
        return self._embedder.languages

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        if any(not text for text in texts):
            raise InvalidInput("an empty text has no vector")
        keys = [_key(self.id, text) for text in texts]
        wanted = dict(zip(keys, texts, strict=True))
        remaining_s = ctx.remaining_s()
        try:
            with anyio.fail_after(remaining_s):
                vectors = await self._kept(ctx.principal.tenant, list(wanted))
                missing = {key: text for key, text in wanted.items() if key not in vectors}
                usage = await self._make(missing, vectors, ctx)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the vectors took longer than the {remaining_s:.1f} s that were left") from error
        return Embedded(vectors=tuple(vectors[key] for key in keys), usage=usage)

    async def _kept(self, tenant: str, keys: Sequence[str]) -> dict[str, Vector]:
        found = await self._shelf.get(tenant, keys)
        return {key: _unpacked(data) for key, data in found.items() if len(data) == self.dim * _BYTES}

    async def _make(self, missing: Mapping[str, str], into: dict[str, Vector], ctx: Context) -> Usage:
        """Fill in the vectors of what is missing; returns what this caller's own calls consumed."""
        usage = Usage()
        if not missing:
            return usage
        line = self._lines.setdefault(ctx.principal.tenant, _Line())
        while left := {key: text for key, text in missing.items() if key not in into}:
            batches = {batch for key in left if (batch := line.holding(key)) is not None}
            own = {key: text for key, text in left.items() if line.holding(key) is None}
            if own:
                batch, leading = self._place(line, own)
                if leading:
                    await self._lead(line, batch, ctx)
                    usage += batch.usage
                batches.add(batch)
            for batch in batches:
                await batch.done.wait()
                if batch.error is not None:
                    raise batch.error
                into.update((key, batch.vectors[key]) for key in left if key in batch.vectors)
        return usage

    def _place(self, line: _Line, own: dict[str, str]) -> tuple[_Batch, bool]:
        """The batch these go with, and whether it is to be led by who asks."""
        joins = len(own) <= self._joining
        if joins and (batch := line.gathering(len(own), self._at_once)) is not None:
            batch.texts.update(own)
            self.joined += 1
            return batch, False
        batch = _Batch(texts=own)
        if not joins or not line.batches:
            batch.go.set()
            line.batches.insert(0, batch)
        else:
            line.batches.append(batch)
        return batch, True

    async def _lead(self, line: _Line, batch: _Batch, ctx: Context) -> None:
        try:
            with anyio.move_on_after(self._window_s):
                await batch.go.wait()
            batch.go.set()
            self.calls += 1
            self.texts += len(batch.texts)
            made = await self._embedder.embed(list(batch.texts.values()), ctx)
            batch.vectors = dict(zip(batch.texts, made.vectors, strict=True))
            batch.usage = made.usage
        except (ModelInvalid, ModelRefused, ModelUnavailable) as error:
            batch.error = error  # what stops the leader alone (time, budget, cancellation) is not told to the others
            raise
        finally:
            line.over(batch)
            batch.done.set()
            if not line.batches and self._lines.get(ctx.principal.tenant) is line:
                del self._lines[ctx.principal.tenant]
        packed = {key: _packed(vector) for key, vector in batch.vectors.items()}
        await self._shelf.put(ctx.principal.tenant, packed)


def _key(embedder: str, text: str) -> str:
    return hashlib.sha256(f"{embedder}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _packed(vector: Vector) -> bytes:
    return _little(vector).tobytes()


def _unpacked(data: bytes) -> Vector:
    vector: Vector = array("f")
    vector.frombytes(data)
    return _little(vector)


def _little(vector: Vector) -> Vector:
    """The vector as processes of any machine write it: little-endian."""
    if sys.byteorder == "little":
        return vector
    swapped = array("f", vector)
    swapped.byteswap()
    return swapped
