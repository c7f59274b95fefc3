"""The ``tags`` section: which traffic tags requests may bring along."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from quarterdeck.core.propagation import RESERVED
from quarterdeck.settings.sections import Section, Words
from quarterdeck.telemetry.tags import TagRule

__all__ = ["TagFile", "TagSettings"]

_NAME = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
_MOST = 32
# They have a meaning already, and some of them are secret.
_TAKEN = re.compile(
    r"(proxy-)?authorization|cookie|host|baggage|traceparent|tracestate|x-api-key|x-request-id|x-trace-id-ext|"
    r"idempotency-key|forwarded|via|x-(forwarded|real|original)-.*|accept.*|content-.*|sec-.*|if-.*"
)


class TagFile(Section):
    """A traffic tag."""

    header: str = Field(
        "", pattern=r"^([a-z0-9][a-z0-9-]{0,63})?$", description="It comes in, in small letters; empty for x-tag-NAME."
    )
    values: Words = Field((), description="The only ones it may have; empty for any of A-Z a-z 0-9 . _ -, at most 64.")
    shared: bool = Field(False, description="Whether calls to models carry it, as baggage. Calls of tools always may.")


class TagSettings(Section):
    """Traffic tags: what marks a request and all that comes of it. What is not listed here is dropped."""

    allowed: dict[_NAME, TagFile] = Field(
        default_factory=dict, max_length=_MOST, description="By name, such as experiment, shadow or tier."
    )

    @model_validator(mode="after")
    def _headers_are_free(self) -> Self:
        headers = [rule.header for rule in self.rules()]
        for name in self.allowed:
            if name in RESERVED:
                raise ValueError(f"allowed.{name}: the name is taken")
        for header in headers:
            if _TAKEN.fullmatch(header):
                raise ValueError(f"allowed: the header {header} has a meaning already")
        if len(headers) != len(set(headers)):
            raise ValueError("allowed: two tags come in one header")
        return self

    def rules(self) -> tuple[TagRule, ...]:
        """The tags as they are read."""
        return tuple(
            TagRule(name=name, header=tag.header or f"x-tag-{name.replace('_', '-')}", values=frozenset(tag.values))
            for name, tag in self.allowed.items()
        )

    def shared(self) -> frozenset[str]:
        """Names of those that calls to models carry."""
        return frozenset(name for name, tag in self.allowed.items() if tag.shared)
