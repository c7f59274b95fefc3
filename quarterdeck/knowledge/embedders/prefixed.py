"""Says before each text what it is for, to a model that was trained to be told."""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck.core.context import Context
from quarterdeck.models.embeddings import Embedded, Embedder

__all__ = ["PrefixedEmbedder"]


class PrefixedEmbedder:
    """`Embedder` whose texts all begin alike. Its vectors can be compared with those of other prefixes of the same model."""

    def __init__(self, embedder: Embedder, prefix: str) -> None:
        self._embedder = embedder
        self._prefix = prefix

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
        # An empty text stays empty, so that it is refused.
        return await self._embedder.embed([text and f"{self._prefix}{text}" for text in texts], ctx)
