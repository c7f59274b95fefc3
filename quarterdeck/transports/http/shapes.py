"""The bodies of requests and answers. Field names and types here are what clients rely on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from quarterdeck.core.answers import Answer, Confidence, Passage
from quarterdeck.core.runs import RunStatus
from quarterdeck.core.usage import Usage
from quarterdeck.service.views import RunView

__all__ = [
    "PROBLEMS",
    "AgentAnswer",
    "AgentQuery",
    "ApprovalDecision",
    "ChatAnswer",
    "ChatRequest",
    "CitationBody",
    "DoubtList",
    "DoubtResolution",
    "Exported",
    "ForkRequest",
    "Id",
    "IdPath",
    "Problem",
    "ReasonRequest",
    "RunBody",
    "RunList",
    "SessionRequest",
    "SourceBody",
    "SteerRequest",
    "UsageBody",
    "agent_answer",
    "chat_answer",
    "place_of",
    "run_body",
]

ID = r"^[a-z0-9_-]{1,64}$"
Id = Annotated[str, StringConstraints(pattern=ID)]
IdPath = Annotated[str, Path(pattern=ID)]


class _Request(BaseModel):
    """A body from outside: nothing is coerced, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ChatRequest(_Request):
    message: str = Field(description="What the person asks.")
    session_id: Id | None = Field(None, description="The session it belongs to; without one a session is opened.")
    agent: Id | None = Field(None, description="Whom it is for; without one the session's, or the default agent.")


class QueryOptions(_Request):
    timeout_s: float | None = Field(
        None, gt=0, le=600, description="Seconds to wait for the answer; the run goes on anyway."
    )


class AgentQuery(_Request):
    query: str
    agent_id: Id | None = None
    session_id: Id | None = None
    options: QueryOptions | None = None


class ApprovalDecision(_Request):
    approved: bool
    reason: Annotated[str, StringConstraints(max_length=2000)] | None = None
    edited_args: dict[str, Any] | None = Field(None, description="All arguments, as they shall be executed.")


class DoubtResolution(_Request):
    outcome: Literal["done", "repeat", "failed"] = Field(description="It happened; do it again; it did not and shall not.")
    output: Annotated[str, StringConstraints(max_length=20_000)] = Field("", description="What it gave, when done.")


class ReasonRequest(_Request):
    reason: Annotated[str, StringConstraints(max_length=2000)] = Field("", description="Why; it stands in the run.")


class SteerRequest(_Request):
    message: str = Field(description="What the model shall hear before its next reply.")


class ForkRequest(_Request):
    at: int = Field(ge=1, description="Seq of the last event that the new run has in common with this one.")


class SessionRequest(_Request):
    agent_id: Id | None = None
    context: dict[str, Any] = Field(default_factory=dict, description="Kept for the client; the model does not see it.")


class UsageBody(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost_usd: float | None = Field(description="None when a model's price is not known.")


class CitationBody(BaseModel):
    id: str
    title: str
    content: str
    score: float
    uri: str = Field(description="Where a person can open it: the document's own address, or `place`.")
    document: str
    span: tuple[int, int] = Field(description="Characters of the document's text, from and to.")
    place: str = Field(description="The document at this span, on this server.")


class ChatAnswer(BaseModel):
    answer: str
    confidence: Confidence
    confidence_score: float | None = Field(description="0 to 1, what the level is made from; null while the run goes on.")
    sources: list[str]
    citations: list[CitationBody]
    tool_calls: list[str]
    needs_human_review: bool
    drafts: list[str] = Field(description="Drafts of this run; open ones wait in /api/v1/approvals.")
    run_id: str
    session_id: str | None
    model: str
    usage: UsageBody
    latency_ms: float
    stop_reason: str
    output: Any = Field(None, description="The value of the agent's declared answer type, if it has one.")


class SourceBody(BaseModel):
    id: str
    content: str
    score: float
    metadata: dict[str, Any]


class AgentAnswer(BaseModel):
    id: str
    answer: str
    confidence: Confidence
    confidence_score: float | None = Field(description="0 to 1, what the level is made from; null while the run goes on.")
    sources: list[SourceBody]
    tool_calls: list[str]
    needs_human_review: bool
    drafts: list[str]
    session_id: str | None
    model: str
    usage: UsageBody
    latency_ms: float
    stop_reason: str
    output: Any = None


class RunBody(ChatAnswer):
    agent: str
    user: str
    status: str
    question: str
    doubts: list[str]
    tool_calls_made: list[dict[str, Any]]
    error: dict[str, str] | None
    head: int
    request_id: str | None
    trace_id: str | None
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime


class RunRowBody(BaseModel):
    run_id: str
    agent: str
    user: str
    session_id: str | None
    status: RunStatus
    code: str | None = Field(description="Of the error it ended with; `poison` for one that stopped its workers.")
    head: int
    created_at: datetime
    updated_at: datetime


class RunList(BaseModel):
    runs: list[RunRowBody]


class DoubtBody(BaseModel):
    run_id: str
    call_id: str
    tool: str
    args: dict[str, Any] = Field(description="Empty unless the caller asked for it or was to approve it.")
    started_seq: int
    started_at: datetime
    not_before: datetime
    requested_by: str
    four_eyes: bool = Field(description="Whoever asked for it may not say what became of it.")
    approvers: list[str]


class DoubtList(BaseModel):
    doubts: list[DoubtBody]


class Exported(BaseModel):
    run_id: str
    uri: str = Field(description="Where its journal is kept now.")


class ProblemDetail(BaseModel):
    code: str = Field(description="Stable; tell cases apart by it.")
    message: str
    request_id: str


class Problem(BaseModel):
    error: ProblemDetail


PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Problem}, "5XX": {"model": Problem}}
"""How every route says what went wrong."""


def chat_answer(run: RunView) -> dict[str, Any]:
    """The answer to ``POST /chat``."""
    return {
        **_judgement(run),
        "sources": list(_answer(run).sources),
        "citations": [
            {"id": p.id, "title": p.title, "content": p.text, "score": p.score, **_whereabouts(p)} for p in _cited(run)
        ],
        "run_id": run.run_id,
    }


def agent_answer(run: RunView) -> dict[str, Any]:
    """The answer to ``POST /api/v1/agent/query``."""
    sources = [
        {
            "id": passage.id,
            "content": passage.text,
            "score": passage.score,
            "metadata": {
                "title": passage.title,
                "heading_path": list(passage.heading_path),
                **_whereabouts(passage),
            },
        }
        for passage in _cited(run)
    ]
    return {"id": run.run_id, **_judgement(run), "sources": sources}


def run_body(run: RunView) -> dict[str, Any]:
    """A run as ``GET /api/v1/runs/{id}`` shows it."""
    return {
        **chat_answer(run),
        "agent": run.agent,
        "user": run.user,
        "status": run.status,
        "question": run.question,
        "doubts": list(run.doubts),
        "tool_calls_made": list(run.tool_calls_made),
        "error": {"code": run.failure.code, "message": run.failure.message} if run.failure else None,
        "head": run.head,
        "request_id": run.request_id,
        "trace_id": run.trace_id,
        "tags": dict(run.tags),
        "created_at": run.created_at,
        "updated_at": run.updated_at,
    }


def _judgement(run: RunView) -> dict[str, Any]:
    """What both answers say alike. While a run waits its model's last words stand for the answer."""
    answer = _answer(run)
    body: dict[str, Any] = {
        "answer": answer.text or run.said,
        "confidence": answer.confidence,
        "confidence_score": answer.confidence_score,
        "tool_calls": list(answer.tool_calls or run.tool_calls),
        "needs_human_review": answer.needs_human_review or bool(run.drafts or run.doubts),
        "drafts": list(dict.fromkeys((*answer.drafts, *run.drafts))),
        "session_id": run.session_id,
        "model": run.model,
        "usage": _usage(run.usage),
        "latency_ms": run.latency_ms,
        "stop_reason": run.stop_reason,
    }
    return body if run.output is None else body | {"output": run.output}


_UNSETTLED = Answer(text="", confidence=Confidence.LOW)


def _answer(run: RunView) -> Answer:
    return run.answer or _UNSETTLED


def _cited(run: RunView) -> list[Passage]:
    """Each cited passage once, in the order of the sources."""
    by_id: Mapping[str, Passage] = {citation.passage.id: citation.passage for citation in _answer(run).citations}
    return [by_id[source] for source in _answer(run).sources if source in by_id]


def place_of(passage: Passage) -> str:
    """Where a passage is opened at its place, in the edition it was found in: the span means nothing in another text."""
    place = f"/api/v1/documents/{passage.doc_id}?at={passage.start}-{passage.end}"
    return f"{place}&edition={passage.edition}" if passage.edition else place


def _whereabouts(passage: Passage) -> dict[str, Any]:
    place = place_of(passage)
    return {
        "uri": passage.uri or place,
        "document": passage.doc_id,
        "span": [passage.start, passage.end],
        "place": place,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "cost_usd": usage.cost_usd,
    }
