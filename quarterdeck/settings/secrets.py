"""What of a configuration is secret: what logs must never say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

__all__ = ["secret_values"]


def secret_values(settings: BaseModel) -> frozenset[str]:
    """Every secret in a configuration, and the passwords inside those that are URLs."""
    return frozenset(value for value in _secrets(settings) if value)


def _secrets(value: Any) -> Iterator[str]:
    match value:
        case SecretStr():
            secret = value.get_secret_value()
            yield secret
            yield from _passwords(secret)
        case BaseModel():
            for name in type(value).model_fields:
                yield from _secrets(getattr(value, name))
        case Mapping():
            for item in value.values():
                yield from _secrets(item)
        case list() | tuple():
            for item in value:
                yield from _secrets(item)


def _passwords(secret: str) -> Iterator[str]:
    try:
        password = urlsplit(secret).password
    except ValueError:  # no URL
        return
    if password:
        yield from (password, unquote(password))
