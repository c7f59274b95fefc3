"""Bodies of the routes about API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from quarterdeck.service.api_keys import ApiKey
from quarterdeck.transports.http.approval_bodies import Instant

__all__ = ["KeyBody", "KeyList", "KeyMade", "KeyRequest", "KeyRotation", "key_body"]

_ID = "01a1fd67a7ec77d3a20bc423265ee748"
_KEY: JsonDict = {
    "id": _ID,
    "user": "ines",
    "name": "nightly report",
    "scopes": ["chat"],
    "made_at": "2026-01-05T09:00:00Z",
    "expires_at": "2026-07-05T09:00:00Z",
    "used_at": None,
    "old_until": None,
    "revoked": False,
}


class KeyRequest(BaseModel):
    """A key one wants for oneself."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"name": "nightly report", "scopes": ["chat"]}]}
    )

    name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")] = Field(description="What it is for.")
    scopes: list[Annotated[str, StringConstraints(max_length=64)]] = Field(
        min_length=1, max_length=100, description="Of one's own, those it shall have."
    )
    expires_at: Instant | None = Field(None, description="None: when it is revoked.")


class KeyRotation(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"grace_s": 3600.0}]})

    grace_s: float = Field(86_400.0, ge=0, le=2_592_000, description="Seconds the key before counts beside the new one.")


class KeyBody(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_KEY]})

    id: str
    user: str
    name: str
    scopes: list[str]
    made_at: datetime | None
    expires_at: datetime | None
    used_at: datetime | None = Field(description="To the hour.")
    old_until: datetime | None = Field(description="Until when the one before the last rotation counts too.")
    revoked: bool


class KeyMade(KeyBody):
    model_config = ConfigDict(json_schema_extra={"examples": [{**_KEY, "key": f"qk_acme.{_ID}." + "0" * 64}]})

    key: str = Field(description="The key itself. It is told this once.")


class KeyList(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"keys": [_KEY]}]})

    keys: list[KeyBody]


def key_body(key: ApiKey) -> dict[str, Any]:
    """A key as JSON, without itself."""
    instants = {name: getattr(key, name) for name in ("made_at", "expires_at", "used_at", "old_until")}
    told = {name: at.isoformat() if at is not None else None for name, at in instants.items()}
    return {
        "id": key.id,
        "user": key.user,
        "name": key.name,
        "scopes": list(key.scopes),
        "revoked": key.revoked,
        **told,
    }
