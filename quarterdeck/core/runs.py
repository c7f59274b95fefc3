"""A run of an agent: what it may spend, how it stands, why it stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

__all__ = ["AgentSpec", "ClientTool", "Limits", "RunStatus", "StopReason"]


class RunStatus(StrEnum):
    """Where a run stands in the store. `ready` is what row L2 calls idle: it wants a worker."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (RunStatus.DONE, RunStatus.FAILED, RunStatus.CANCELLED)


class StopReason(StrEnum):
    """Why a run stopped or what it waits for: the closed list every client may rely on."""

    COMPLETED = "completed"
    CLIENT_TOOLS = "client_tools"
    AWAITING_APPROVAL = "awaiting_approval"
    IN_DOUBT = "in_doubt"
    PAUSED = "paused"
    RUNNING = "running"
    TURN_LIMIT = "turn_limit"
    TIME_LIMIT = "time_limit"
    TOKEN_LIMIT = "token_limit"  # noqa: S105 - a limit on tokens, no secret
    COST_LIMIT = "cost_limit"
    LOOP_DETECTED = "loop_detected"
    UNKNOWN_TOOLS = "unknown_tools"
    CONTEXT_TOO_LARGE = "context_too_large"
    INVALID_ANSWER = "invalid_answer"
    TRUNCATED = "truncated"
    FILTERED = "filtered"
    MODEL_FAILED = "model_failed"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may spend and when it counts as a loop. None means unlimited.

    Attributes:
        max_turns: Model calls.
        max_total_time: Seconds of work; waiting for people does not count.
        max_tokens: Prompt and completion tokens of all calls together.
        parallel_tool_calls: How many tools run at once; 1 runs them one after the other.
        max_calls_per_turn: Tool calls honoured of one reply; the rest are answered with an error.
        loop_detection_window: Size of the window of last calls.
        loop_detection_threshold: Equal calls (tool, arguments, result) within the window that make a loop.
        context_window: Tokens of the model's window.
        compact_at: Share of the window at which older messages are compacted, 0 to 1.
        repairs: How often a failing answer goes back to the model.
    """

    max_turns: int = 20
    max_total_time: float = 300.0
    max_tokens: int | None = None
    max_cost_usd: float | None = None
    parallel_tool_calls: int = 16
    max_calls_per_turn: int = 16
    loop_detection_window: int = 4
    loop_detection_threshold: int = 3
    context_window: int = 120_000
    compact_at: float = 0.75
    repairs: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTool:
    """A tool of whoever asks: the model may call it, and the one who asked executes it and asks again with the result."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """A declared agent. Its content hash stands in every run it begins; a run keeps the version it began with.

    Attributes:
        model: ``provider:name``; empty for a run that only does what it begins with, and asks nobody in between.
        tools: Names in the tool registry.
        retrieve: `tool` leaves searching to the model, `always` searches before the first model call, `never` does not.
        citations: Who decides whether passages bear out what cites them: `lexical` is words in common, `model` a model.
        citations_model: That model, ``provider:name``; empty for the agent's own.
        extraction_model: Reads untrusted results where policy has values taken out of them; empty for the agent's own.
        output_schema: JSON Schema the answer must satisfy, None for plain text.
        options: Passed to the provider as they are.
        client_tools: What one question brought along; a run that calls one of them ends there.
        answer_cache: Whether a sure answer is given again to who asks the same and may read all it was made from.
    """

    name: str
    model: str
    instructions: str = ""
    description: str = ""
    tools: tuple[str, ...] = ()
    retrieve: Literal["tool", "always", "never"] = "tool"
    citations: Literal["lexical", "model"] = "lexical"
    citations_model: str = ""
    extraction_model: str = ""
    limits: Limits = field(default_factory=Limits)
    output_schema: Mapping[str, Any] | None = None
    temperature: float = 0.0
    max_output_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    answer_cache: bool = False
    client_tools: tuple[ClientTool, ...] = ()
