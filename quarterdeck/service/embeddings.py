"""Texts as vectors for clients: those the knowledge index is made with."""

from __future__ import annotations

import time
from collections.abc import Sequence

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.ids import new_id
from quarterdeck.models.embeddings import Embedded, Embedder

__all__ = ["MAX_TEXTS", "Embeddings"]

MAX_TEXTS = 2_048


class Embeddings:
    """The configured embedder before people.

    Args:
        name: As it is configured: ``provider:name``, or ``minilm``.
        timeout_s: For one request.
    """

    def __init__(self, embedder: Embedder, name: str, *, timeout_s: float) -> None:
        self.name = name
        self._embedder = embedder
        self._timeout_s = timeout_s

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._embedder.dim

    def answers_to(self, name: str) -> bool:
        """True for its name, with or without the provider's."""
        return name in (self.name, self.name.partition(":")[2])

    async def embed(self, principal: Principal, texts: Sequence[str]) -> Embedded:
        """The vectors of `texts`, in their order.

        Raises:
            InvalidInput: There are none or too many, or one is empty.
            ModelUnavailable, ModelRefused, ModelInvalid, DeadlineExceeded, BudgetExceeded: As for models.
        """
        if not 0 < len(texts) <= MAX_TEXTS or not all(texts):
            raise InvalidInput(f"1 to {MAX_TEXTS} texts have vectors, none of them empty")
        ctx = Context(principal=principal, run_id=new_id(), deadline=time.monotonic() + self._timeout_s)
        return await self._embedder.embed(texts, ctx)
