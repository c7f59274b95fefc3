"""How a run's standing changes: the rules every store shares, whatever it keeps rows in."""

from __future__ import annotations

from collections.abc import Sequence

from quarterdeck.core.errors import Conflict
from quarterdeck.core.events import CancelRequested, Event, ResumeRequested, RetryRequested, RunFailed
from quarterdeck.core.runs import RunStatus
from quarterdeck.store.base import Entry

__all__ = ["ENDED", "after_append", "after_post", "check_end", "claimable", "failure", "open_to"]

# Sets of strings, so that the text of a row can be looked up as it is.
ENDED: frozenset[str] = frozenset({RunStatus.DONE, RunStatus.FAILED, RunStatus.CANCELLED})
_RESTING: frozenset[str] = frozenset({RunStatus.WAITING, RunStatus.PAUSED})


def claimable(present: str, attempts: int = 0, below: int | None = None) -> bool:
    """True if a worker may take the run. A running one may be taken over; a paused one rests until somebody resumes it."""
    return present not in ENDED and present != RunStatus.PAUSED and (below is None or attempts < below)


def open_to(present: str, event: Event) -> bool:
    """True if something from outside may still happen to the run: to an ended one nothing, but a failed one may be retried.

    Only a failed one may: whoever asks for a retry of a run that goes on already has it.
    """
    if isinstance(event, RetryRequested):
        return present == RunStatus.FAILED
    return present not in ENDED


def check_end(run_id: str, wanted: RunStatus | None, *, foreign: bool) -> None:
    """Refuse an answer that was made without what came in meanwhile: a person's message must not be passed over.

    Raises:
        Conflict: The run would be done over events its worker has not folded.
    """
    if foreign and wanted is RunStatus.DONE:
        raise Conflict(f"run {run_id} cannot end yet: events came in that its worker has not seen")


def after_append(present: str, wanted: RunStatus | None, *, foreign: bool) -> str:
    """The status after a worker's append. An ended run stays ended.

    A run that would rest over events its worker has not folded is ready instead: it could sleep for ever over its own
    granted approval.
    """
    if wanted is None or present in ENDED:
        return present
    return RunStatus.READY if foreign and wanted in _RESTING else wanted


def failure(entries: Sequence[Entry]) -> str | None:
    """The code a run has that fails with these events."""
    return next((entry.event.code for entry in reversed(entries) if isinstance(entry.event, RunFailed)), None)


def after_post(present: str, event: Event) -> str:
    """The status after an event from outside: what waits is woken, what is paused only by being resumed or cancelled.

    A failed run that is retried is ready.
    """
    if present == RunStatus.FAILED and isinstance(event, RetryRequested):
        return RunStatus.READY
    resumed = present == RunStatus.PAUSED and isinstance(event, ResumeRequested | CancelRequested)
    return RunStatus.READY if resumed or present == RunStatus.WAITING else present
