"""What every part of the configuration's schema is built from."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

__all__ = ["Id", "Networks", "Seconds", "Section", "Words", "listed"]


def listed(value: object) -> object:
    """An environment variable says a list as ``a,b``."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        ipaddress.ip_network(value)  # says itself what is wrong with it
    return values


Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400 * 366, allow_inf_nan=False)]
Words = Annotated[tuple[str, ...], BeforeValidator(listed)]
Networks = Annotated[Words, AfterValidator(_networks)]


class Section(BaseModel):
    """Keys that stand together; an unknown one is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
