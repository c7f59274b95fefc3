"""An embedder for tests: words that mean the same have the same direction, all others one of their own."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence

from quarterdeck.core.context import Context
from quarterdeck.core.text import content_terms
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.analyze import stem
from quarterdeck.models.embeddings import Embedded

SAME = {stem(word): stem(means) for word, means in {"vacation": "leave", "holiday": "leave", "wage": "salary"}.items()}


class Meaning:
    """Vectors of 256 numbers: sums of the directions of a text's words."""

    id = "test:meaning"
    dim = 256

    def __init__(self, languages: frozenset[str] | None = frozenset({"en"}), *, error: Exception | None = None) -> None:
        self.languages = languages
        self.error = error
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        self.asked += texts
        if self.error is not None:
            raise self.error
        return Embedded(vectors=tuple(map(vector, texts)), usage=Usage(prompt_tokens=len(texts)))


def vector(text: str) -> array[float]:
    """The vector of `text`."""
    words = [stem(term) for term in content_terms(text)]
    directions = [_direction(SAME.get(word, word)) for word in words]
    whole = [math.fsum(numbers) for numbers in zip(*directions, strict=True)]
    length = math.sqrt(math.fsum(number * number for number in whole))
    return array("f", [number / length for number in whole])


def _direction(word: str) -> list[float]:
    numbers = random.Random(word)
    return [numbers.gauss(0, 1) for _ in range(Meaning.dim)]
