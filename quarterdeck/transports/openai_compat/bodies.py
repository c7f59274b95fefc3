"""What clients of OpenAI are answered, as far as the description of the interface tells it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from quarterdeck.transports.http.shapes import ChatAnswer

__all__ = ["ChatCompletion", "CompatProblem", "EmbeddingList", "ModelBody", "ModelList", "ResponseObject"]


class CompatDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class CompatProblem(BaseModel):
    """What OpenAI's clients read of an error. What is refused before its route is known has the server's own shape."""

    error: CompatDetail


class ModelBody(BaseModel):
    id: str = Field(description="Name of an agent.")
    object: Literal["model"]
    created: int
    owned_by: str
    description: str = ""


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelBody]


class _Open(BaseModel):
    """More stands in it: what OpenAI's own description tells."""

    model_config = ConfigDict(extra="allow")


class CompletionMessage(_Open):
    role: Literal["assistant"]
    content: str | None
    tool_calls: list[dict[str, Any]] | None = Field(None, description="Calls of the client's own tools.")


class Choice(_Open):
    index: int
    message: CompletionMessage
    finish_reason: Literal["stop", "length", "content_filter", "tool_calls"]


class ChatCompletion(_Open):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, Any]
    metadata: dict[str, str] = Field(description="As it was sent, and `run_id`.")
    quarterdeck: ChatAnswer


class ResponseObject(_Open):
    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["completed", "in_progress", "incomplete", "failed", "cancelled"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None
    metadata: dict[str, str] = Field(description="As it was sent, and `run_id`.")
    quarterdeck: ChatAnswer


class EmbeddingRow(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="Numbers, or their bytes as base64 where that was asked for.")


class EmbeddingList(BaseModel):
    object: Literal["list"]
    data: list[EmbeddingRow]
    model: str
    usage: dict[str, int]
