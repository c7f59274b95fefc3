"""Leaves a provider alone while it is down."""

from __future__ import annotations

from collections.abc import Collection

import anyio

from quarterdeck.core.context import Context
from quarterdeck.core.errors import DeadlineExceeded, ModelUnavailable, QuarterdeckError
from quarterdeck.models.base import Completion, Emit, Model, ModelRequest
from quarterdeck.models.route import routed
from quarterdeck.store.breaker import Admission, BreakerState, Circuit, Outcome

__all__ = ["FAILURES", "Breaking"]

FAILURES: Collection[str] = ("model_unavailable", "upstream_invalid")


class Breaking:
    """Asks a model while its circuit is closed, and as the one probe when it is half open.

    An open circuit is a `ModelUnavailable` at once, with the time until the next probe, which a fallback takes for a reason.
    A refused or impossible request says nothing about the provider's health, nor does a caller who leaves, or whose time was
    short. A provider that has said nothing for `slow_s` when the caller's time is over has failed, though: else one that
    hangs would never be left alone by callers who wait less than the provider's own time-out.
    """

    def __init__(
        self,
        model: Model,
        state: BreakerState,
        *,
        circuit: str | None = None,
        failures: Collection[str] = FAILURES,
        slow_s: float = 10.0,
    ) -> None:
        """
        Args:
            circuit: Name of the circuit, shared by models that fail together; None for the provider's name.
            failures: Codes of errors that count against the provider.
            slow_s: Seconds without a word that count against the provider when the caller waits no longer.
        """
        self._model = model
        self._state = state
        self._circuit = circuit if circuit is not None else model.name.partition(":")[0]
        self._failures = frozenset(failures)
        self._slow_s = slow_s

    @property
    def name(self) -> str:
        return self._model.name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        admission = await self._state.admit(self._circuit)
        if admission.circuit is Circuit.OPEN:
            raise ModelUnavailable(
                f"{self.name} was not asked: {self._circuit} has failed too often", retry_after_s=admission.retry_after_s
            )
        outcome = Outcome.VOID
        try:
            completion = await self._model.complete(request, ctx, emit)
            outcome = Outcome.SUCCEEDED
        except QuarterdeckError as error:
            outcome = self._outcome(error)
            raise
        finally:
            await self._report(admission, outcome)
        return routed(completion, "breaker: probe" if admission.circuit is Circuit.PROBE else "")

    def _outcome(self, error: QuarterdeckError) -> Outcome:
        if error.code in self._failures or (isinstance(error, DeadlineExceeded) and error.waited_s >= self._slow_s):
            return Outcome.FAILED
        # A provider that refuses a request has answered it.
        return Outcome.SUCCEEDED if error.code in ("model_refused", "filtered", "context_too_large") else Outcome.VOID

    async def _report(self, admission: Admission, outcome: Outcome) -> None:
        # A probe whose caller was cancelled has to be given back as well, or nobody probes until it is given up.
        with anyio.CancelScope(shield=True):
            await self._state.report(self._circuit, admission, outcome)
