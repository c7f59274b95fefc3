"""The bodies of what is said about sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

__all__ = ["SessionBody", "SessionDetail", "SessionList"]


class SessionBody(BaseModel):
    id: str
    user_id: str
    agent_id: str
    state: Literal["active", "closed"] = Field(description="A closed one takes no more questions.")
    context: dict[str, Any] = Field(description="Kept for the client; the model does not see it.")
    created_at: datetime
    updated_at: datetime


class SessionList(BaseModel):
    sessions: list[SessionBody]


class SessionMessageBody(BaseModel):
    id: str
    session_id: str
    role: str
    content: str
    metadata: dict[str, Any] = Field(description="`run_id`, and of an answer its confidence and sources.")
    created_at: datetime


class SessionDetail(SessionBody):
    messages: list[SessionMessageBody] = Field(description="Newest questions and answers, oldest first.")
