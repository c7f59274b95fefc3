"""The bodies of what is said about agents, tools and costs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from quarterdeck.service.budgets import Cost
from quarterdeck.service.catalogue import ListedAgent
from quarterdeck.tools.registry import CatalogueEntry

__all__ = ["AgentList", "CostList", "ToolList", "agent_row", "cost_row", "tool_row"]


class AgentRow(BaseModel):
    id: str
    name: str
    type: Literal["rag", "tool", "chat"] = Field(description="It reads documents; calls other tools only; has neither.")
    description: str
    config: dict[str, Any] = Field(description="How it was declared, without its instructions.")
    state: Literal["active", "inactive"] = Field(description="Inactive once it is declared no more.")
    default: bool = Field(description="Whether questions go to it that name nobody.")
    model: str
    tools: list[str]
    created_at: datetime
    updated_at: datetime


class AgentList(BaseModel):
    agents: list[AgentRow]


class ToolRow(BaseModel):
    name: str
    description: str
    input_schema: dict[str, Any]
    risk_level: Literal["low", "medium", "high"]
    effect: str
    access: Literal["read", "write"]
    idempotent: bool
    needs_approval: bool
    permission: str | None = Field(description="Scope the person must hold for whom it is called.")
    timeout_s: float
    retries: int
    max_output_chars: int


class ToolList(BaseModel):
    tools: list[ToolRow]


class CostRow(BaseModel):
    scope: str
    name: str
    day: str = Field(description="UTC; empty for a run.")
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: float = Field(description="Of the calls whose price is known.")
    unpriced: int = Field(description="Calls whose price is not known.")
    estimated: int = Field(description="Calls whose tokens are an estimate.")


class CostList(BaseModel):
    costs: list[CostRow]
    total_usd: float


def agent_row(agent: ListedAgent) -> dict[str, Any]:
    """An agent as the list shows it."""
    return {**asdict(agent), "name": agent.id, "model": agent.config["model"], "tools": agent.config["tools"]}


def tool_row(tool: CatalogueEntry) -> dict[str, Any]:
    """A tool as the catalogue shows it."""
    return asdict(tool)


def cost_row(cost: Cost) -> dict[str, Any]:
    """What one holder consumed of one model on one day."""
    return {"scope": cost.scope, "name": cost.name, "day": cost.day, "model": cost.model, **asdict(cost.tally)}
