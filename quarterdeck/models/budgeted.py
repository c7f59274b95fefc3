"""Asks a budget before every call which model it may go to."""

from __future__ import annotations

from collections.abc import Callable

from quarterdeck.core.context import Context
from quarterdeck.models.base import Budget, Completion, Emit, Model, ModelRequest
from quarterdeck.models.route import routed

__all__ = ["Budgeted"]


class Budgeted:
    """Asks the model that a budget allows: the one that was named, or a cheaper one.

    What each attempt may cost is held back further in, by `Metered`, where it is known whose price it will be.
    """

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
        allowance = await self._budget.allow(ctx, self.name, request)
        model = self._model if allowance.model is None else self._cheaper(allowance.model)
        completion = await model.complete(request, ctx, emit)
        return routed(completion, f"budget: {allowance.note}" if allowance.note else "")
