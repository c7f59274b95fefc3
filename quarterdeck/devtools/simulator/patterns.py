"""Patterns of JSON Schemas, which clients send: whether a text has one, in linear time whatever the pattern."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

__all__ = ["matches"]


def matches(pattern: str, text: str) -> bool:
    """Whether `pattern` is somewhere in `text`. True for a pattern with look-arounds or references, which is not checked."""
    checker = _checker(pattern)
    if checker is None:
        return True
    try:
        checker.validate_python(text)
    except ValidationError:
        return False
    return True


@lru_cache(maxsize=256)
def _checker(pattern: str) -> TypeAdapter[str] | None:
    # Pydantic's own engine for patterns takes no back-tracking; Python's would take years for `(a+)+$` and 40 characters.
    try:
        return TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except SchemaError:
        return None
