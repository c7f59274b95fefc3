"""What an evaluation needs of a folder: data of its own, so that nothing of it stays, and a model that grades."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from quarterdeck.app.models import SIMULATED, shelf
from quarterdeck.core.errors import Misconfigured
from quarterdeck.evals.grading import Grader
from quarterdeck.settings import Configuration

__all__ = ["apart", "grading"]


def apart(data: Path) -> Mapping[str, Any]:
    """Flags for `settings.load` that keep an evaluation apart from what the folder's servers share.

    Answers kept for later are off too: a repeated question would be answered from memory and prove nothing.
    """
    return {
        "store": {"data": str(data), "database_url": None, "redis_url": None, "state_url": None},
        "knowledge": {"index_url": None, "cache": {"second_level": False}},
        "worker": {"in_server": True},
        "models": {"cache": {"enabled": False}},
    }


@contextlib.asynccontextmanager
async def grading(configuration: Configuration, name: str | None) -> AsyncIterator[Grader]:
    """A grader of rubrics, with the model under this name or the folder's default one.

    Raises:
        Misconfigured: There is no such model, or it would be the simulated one, which cannot judge.
    """
    async with shelf(configuration) as models:
        model = models.get(name or configuration.settings.models.default)
        if model.name == SIMULATED:
            raise Misconfigured("a rubric is graded by a model, and the simulated one cannot judge: name one with --judge")
        yield Grader(model)
