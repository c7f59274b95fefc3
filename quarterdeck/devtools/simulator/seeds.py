"""One seed decides everything random: ids, generated values, jitter, faults by chance."""

from __future__ import annotations

import random
from functools import cached_property
from hashlib import blake2b

__all__ = ["Dice", "Seed"]


class Seed:
    """A seed as bytes of one length, made once and used for every request."""

    def __init__(self, value: str | int) -> None:
        self.digest = blake2b(str(value).encode(), digest_size=16).digest()

    def dice(self, path: str, body: bytes, occurrence: int = 0) -> Dice:
        """The randomness of one request.

        Args:
            occurrence: How often the same request came before.
        """
        digest = blake2b(body, digest_size=16, key=path.encode()[:64], person=self.digest).digest()
        return Dice(digest, occurrence)


class Dice:
    """Randomness that is a pure function of a key and of how often the key was used before."""

    def __init__(self, key: bytes, occurrence: int = 0) -> None:
        self._key = key
        self._salt = occurrence.to_bytes(8, "little")

    @cached_property
    def random(self) -> random.Random:
        """A generator of its own, made on first use: most replies need none."""
        return random.Random(self._key + self._salt)  # noqa: S311 - repeatable on purpose

    @cached_property
    def _digits(self) -> str:
        return self._made("")

    def _made(self, about: str) -> str:
        return blake2b(about.encode(), key=self._key, salt=self._salt).hexdigest()

    def id(self, prefix: str, about: str = "", length: int = 24) -> str:
        """`prefix` and `length` hexadecimal digits (128 at most); the same for equal dice and `about`."""
        return prefix + (self._made(about) if about else self._digits)[:length]
