"""Vectors without a model: words and parts of words, hashed. Texts that share words are near each other."""

from __future__ import annotations

import math
import re
from array import array
from hashlib import blake2b
from itertools import pairwise

__all__ = ["embed", "similarity"]

_WORD = re.compile(r"[a-z0-9]+|[^\W\da-z_]")
_PLACES = 4  # positions a feature marks: fewer would let two features cancel out, more would fill short vectors


def embed(text: str, dimensions: int) -> array[float]:
    """A unit vector; the same text gives the same one everywhere."""
    vector = [0.0] * dimensions
    for feature, weight in _features(text):
        digest = blake2b(feature.encode(), digest_size=4 * _PLACES).digest()
        for place in range(0, len(digest), 4):
            number = int.from_bytes(digest[place : place + 4], "little")
            vector[(number >> 1) % dimensions] += weight if number & 1 else -weight
    length = math.sqrt(math.fsum(value * value for value in vector)) or 1.0
    return array("f", (value / length for value in vector))


def similarity(left: array[float], right: array[float]) -> float:
    """The cosine of two unit vectors."""
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def _features(text: str) -> list[tuple[str, float]]:
    words = _WORD.findall(text.lower())
    features = [(word, 1.0) for word in words] or [("\0empty", 1.0)]
    for word in words:
        features += [(f"#{word[start : start + 3]}", 0.3) for start in range(len(word) - 2)]
    features += [(f"{left} {right}", 0.5) for left, right in pairwise(words)]
    return features
