"""The bodies of stories: what happened in the runs of a request, step by step."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from quarterdeck.service.story import Story
from quarterdeck.service.story_steps import Step
from quarterdeck.transports.http.shapes import RunBody, run_body

__all__ = ["RequestStory", "StoryBody", "story_body"]


class StepBody(BaseModel):
    seq: int = Field(description="Of its event in the run.")
    at: datetime | None
    kind: str = Field(description="What it is: input, retrieval, model, policy, tool, approval_requested, answer, ...")
    seconds: float | None = Field(description="It took; null where nothing was waited for.")
    tokens: int | None
    cost_usd: float | None
    told: dict[str, Any] = Field(description="By kind; what may not be read is {withheld: true}.")


class StoryBody(RunBody):
    steps: list[StepBody]
    withheld: bool = Field(description="Something is left out that the reader may not read.")


class RequestStory(BaseModel):
    request_id: str
    runs: list[StoryBody] = Field(description="Oldest first, the last 200 of them.")
    before: str | None = Field(description="To ask for those before these with; null where there are none.")


def story_body(story: Story) -> dict[str, Any]:
    """A story as routes show it."""
    return {**run_body(story.view), "steps": [_step(step) for step in story.steps], "withheld": story.withheld}


def _step(step: Step) -> dict[str, Any]:
    usage = step.usage
    return {
        "seq": step.seq,
        "at": step.at,
        "kind": step.kind,
        "seconds": step.seconds,
        "tokens": None if usage is None else usage.total_tokens,
        "cost_usd": None if usage is None else usage.cost_usd,
        "told": step.told,
    }
