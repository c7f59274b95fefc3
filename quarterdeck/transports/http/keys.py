"""The header that makes a repeated request the same one."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header

from quarterdeck.core.errors import InvalidInput

__all__ = ["IdempotencyKey", "checked"]

_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
IdempotencyKey = Annotated[str | None, Header(description="However often it is sent with one key, it is done once.")]


def checked(key: str | None) -> str | None:
    """The key as it was sent. Raises InvalidInput for one that is none."""
    if key is not None and _KEY.match(key) is None:
        raise InvalidInput("Idempotency-Key must be 1 to 255 printable characters without spaces")
    return key
