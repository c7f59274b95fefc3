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
        salt = occurrence.to_bytes(16, "little")
        return Dice(blake2b(body, key=path.encode()[:64], salt=salt, person=self.digest).digest())


class Dice:
    """Randomness that is a pure function of a key of 64 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.digits = key.hex()

    @cached_property
    def random(self) -> random.Random:
        """A generator of its own, made on first use: most replies need none."""
        return random.Random(self._key)  # noqa: S311 - repeatable on purpose

    def id(self, prefix: str, about: str = "", length: int = 24) -> str:
        """`prefix` and `length` hexadecimal digits (128 at most); the same for equal dice and `about`."""
        if not about:
            return prefix + self.digits[:length]
        return prefix + blake2b(about.encode(), key=self._key).hexdigest()[:length]
