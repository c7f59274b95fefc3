"""Asks a budget before every call, and asks a cheaper model where the budget says so."""

from __future__ import annotations

from collections.abc import Callable

from quarterdeck.core.context import Context
from quarterdeck.models.base import Budget, Completion, Emit, Model, ModelRequest
from quarterdeck.models.route import routed

__all__ = ["Budgeted"]


class Budgeted:
    """Holds a model to a budget. What is consumed is told to the budget further in, where the price is known."""

    def __init__(self, model: Model, budget: Budget, cheaper: Callable[[str], Model]) -> None:
        """
        Args:
            cheaper: Finds the model a budget names. It must not ask the budget again.
        """
        self._model = model
        self._budget = budget
        self._cheaper = cheaper

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        async with self._budget.allow(ctx, self.name, request) as allowance:
            model = self._model if allowance.model is None else self._cheaper(allowance.model)
            completion = await model.complete(request, ctx, emit)
        return routed(completion, f"budget: {allowance.note}" if allowance.note else "")
