"""The ``approvals`` of a tool in a policy file: who must agree to its calls, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from quarterdeck.core.decisions import Level, OnExpiry, Terms

__all__ = ["Approvals", "problems", "written"]

_LONGEST_S = 30 * 86400.0
_OF_A_LEVEL = ("by", "quorum", "expires_s", "escalate")

_Who = Annotated[str, Field(pattern=r"^(user:)?[A-Za-z0-9_.@-]{1,64}$")]
_Span = Annotated[float, Field(gt=0, le=_LONGEST_S)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Escalate(_Strict):
    after_s: _Span
    to: Annotated[list[_Who], Field(min_length=1, max_length=32)]


class _Level(_Strict):
    by: Annotated[list[_Who], Field(min_length=1, max_length=32)]
    quorum: Annotated[int, Field(ge=1, le=32)] = 1
    expires_s: _Span | None = None
    escalate: _Escalate | None = None


class _Approvals(_Strict):
    levels: Annotated[list[_Level], Field(max_length=8)] = []
    four_eyes: bool = False
    reason: Literal["required", "optional"] = "optional"
    on_expiry: OnExpiry = "reject"


def _whole(said: Any) -> Any:
    """The long form of the two short ones: a list of who may decide, and one level without ``levels``."""
    if isinstance(said, list):
        return {"levels": [{"by": said}] if said else []}
    if isinstance(said, dict) and "levels" not in said and any(key in said for key in _OF_A_LEVEL):
        level = {key: value for key, value in said.items() if key in _OF_A_LEVEL}
        return {key: value for key, value in said.items() if key not in _OF_A_LEVEL} | {"levels": [level]}
    return said


Approvals = Annotated[_Approvals, BeforeValidator(_whole)]


def problems(approvals: _Approvals, expires_s: float) -> Iterator[str]:
    """What can never come true of what is written."""
    for position, level in enumerate(approvals.levels, 1):
        named = {*level.by, *(level.escalate.to if level.escalate else ())}
        if all(name.startswith("user:") for name in named) and len(named) < level.quorum:
            yield f"level {position} wants {level.quorum} people and names {len(named)}"
        waits_s = level.expires_s or expires_s
        if level.escalate is not None and level.escalate.after_s >= waits_s:
            yield f"level {position} expires after {waits_s:g} s, before it escalates after {level.escalate.after_s:g} s"


def written(approvals: _Approvals, expires_s: float) -> Terms:
    """What the file says; without levels, who must agree is left to rules, or to the role that decides everything."""
    levels = tuple(
        Level(
            by=tuple(dict.fromkeys(level.by)),
            quorum=level.quorum,
            expires_s=level.expires_s or expires_s,
            escalate_to=tuple(level.escalate.to) if level.escalate else (),
            escalate_s=level.escalate.after_s if level.escalate else None,
        )
        for level in approvals.levels
    )
    return Terms(
        levels=levels,
        four_eyes=approvals.four_eyes,
        reason_required=approvals.reason == "required",
        on_expiry=approvals.on_expiry,
    )
