"""What is sent to and told by the routes about people's data."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ErasureBody", "PrivacyRequest"]


class PrivacyRequest(BaseModel):
    """Whose data is meant: a person's, or those of one's own tenant."""

    model_config = ConfigDict(extra="forbid")

    user: str | None = Field(None, pattern=r"^[a-z0-9_-]{1,64}$", description="A person or service of one's tenant.")
    tenant: str | None = Field(None, pattern=r"^[a-z0-9_-]{1,64}$", description="One's own tenant, said once more.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.user is None) == (self.tenant is None):
            raise ValueError("name a user or the tenant")
        return self


class ErasureBody(BaseModel):
    """How an erasure stands."""

    id: str
    subject: Literal["user", "tenant"]
    name: str = Field(description="Whose data; its SHA-256 once it is done.")
    status: Literal["running", "done"]
    runs: int = Field(description="Erased so far.")
    records: int = Field(description="Sessions, drafts, tokens and what else is kept beside runs.")
    things: int = Field(description="Documents and snapshots.")
    waiting: int = Field(description="Runs that still have to end.")
