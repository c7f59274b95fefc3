"""One model after the other, until one answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from quarterdeck.core.context import Context
from quarterdeck.core.errors import BudgetExceeded, Misconfigured, QuarterdeckError
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, Model, ModelRequest
from quarterdeck.models.route import routed
from quarterdeck.models.watch import Watch

__all__ = ["REASONS", "Fallback"]

REASONS: Collection[str] = ("model_unavailable", "upstream_invalid")
_BARRED = (BudgetExceeded, Misconfigured)  # of a stand-in: it was not asked at all


class Fallback:
    """Asks the first model, and the next one where the error is a reason to.

    Nobody else is asked once a part of the reply was passed on: whoever watches would see two replies in one. What the
    failed ones consumed is added to the completion's usage. A stand-in that may not be asked is passed over: its own budget
    is spent, or there is a limit in money and it has no known price.
    """

    def __init__(self, models: Sequence[Model], *, reasons: Collection[str] = REASONS) -> None:
        """
        Args:
            models: At least one, in the order they are asked.
            reasons: Codes of errors, such as ``model_unavailable``, ``context_too_large``, ``filtered``; with an HTTP
                status behind a colon only that one counts: ``model_refused:401`` is a refused key.
        """
        if not models:
            raise ValueError("a fallback needs at least one model")
        self._models = tuple(models)
        self._reasons = frozenset(reasons)

    @property
    def name(self) -> str:
        return self._models[0].name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        wasted: Usage | None = None
        failures: list[str] = []
        for model in self._models:
            watch = None if emit is None else Watch(emit)
            try:
                completion = await model.complete(request, ctx, watch)
            except QuarterdeckError as error:
                if error.usage is not None:
                    wasted = error.usage if wasted is None else wasted + error.usage
                delivered = watch is not None and watch.delivered
                barred = bool(failures) and isinstance(error, _BARRED)
                if delivered or model is self._models[-1] or not (barred or self._is_reason(error)):
                    error.usage = wasted
                    raise
                failures.append(f"{model.name} {error.code}")
            else:
                return _after(completion, failures, wasted)
        raise AssertionError("the last model either answers or raises")

    def _is_reason(self, error: QuarterdeckError) -> bool:
        status = getattr(error, "status", None)
        return error.code in self._reasons or f"{error.code}:{status}" in self._reasons


def _after(completion: Completion, failures: Sequence[str], wasted: Usage | None) -> Completion:
    if not failures:
        return completion
    usage = completion.usage if wasted is None else wasted + completion.usage
    told = f"fallback: {', '.join(failures)} -> {completion.model}"
    return routed(replace(completion, usage=usage, attempts=completion.attempts + len(failures)), told)
