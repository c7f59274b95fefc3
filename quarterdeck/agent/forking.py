"""Where a run may be forked, and what the fork begins with. Pure, as the fold is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from quarterdeck.agent.fold import fold
from quarterdeck.agent.state import CallState, RunState
from quarterdeck.core.errors import InvalidInput
from quarterdeck.core.events import (
    CancelRequested,
    DoubtResolved,
    Endorsed,
    Event,
    FinalAnswer,
    InDoubt,
    ModelReply,
    PauseRequested,
    ResumeRequested,
    RetryRequested,
    RunCancelled,
    RunFailed,
    RunStarted,
    StateFolded,
)
from quarterdeck.core.propagation import named
from quarterdeck.store.base import Entry

__all__ = ["fork_of", "fork_problem"]

# What belongs to the life of the original run, not to what was said and done in it.
_OWN = (
    FinalAnswer,
    RunFailed,
    RunCancelled,
    RetryRequested,
    CancelRequested,
    PauseRequested,
    ResumeRequested,
    Endorsed,  # it counts for one run
    StateFolded,
)


def fork_problem(entries: Sequence[Entry], at: int) -> str | None:
    """Why a run with these events cannot be forked after the one with seq `at`; None if it can.

    A fork must not take over what is still open to the outside: a write that may be happening, a draft or a doubt that is
    with a person. Those belong to the one run they were made in; and so does taking back what a draft did.
    """
    if entries and isinstance(entries[0].event, RunStarted) and entries[0].event.undoes:
        return "it takes back what a draft did, which is done once; undo the draft again if it came to nothing"
    head = entries[-1].seq if entries else 0
    if not 1 <= at <= head:
        return f"the run has the events 1 to {head}; {at} is not one of them"
    found: list[CallState | None] = []
    state = RunState()
    for entry in entries:
        state = fold([entry], state)
        found.append(_open(state))
    if (open_call := found[at - 1]) is None:
        return None
    good = [seq for seq, call in enumerate(found, 1) if call is None]
    before = max((seq for seq in good if seq < at), default=None)
    after = min((seq for seq in good if seq > at), default=None)
    near = " or ".join(str(seq) for seq in (before, after) if seq is not None)
    return f"at {at} call {open_call.call.id} ({open_call.call.name}) is {_how(open_call)}: fork at {near}"


def fork_of(
    entries: Sequence[Entry],
    at: int,
    run_id: str,
    *,
    trace_id: str | None = None,
    span_id: str | None = None,
    request_id: str | None = None,
) -> tuple[Entry, list[Entry]]:
    """The first entry of a fork of run `run_id`, and those that follow at once.

    Configuration, limits and principal are those the run began with; a deadline somebody waited for is not.

    Raises:
        InvalidInput: It cannot be forked there.
    """
    problem = fork_problem(entries, at)
    if problem is not None:
        raise InvalidInput(f"run {run_id} cannot be forked: {problem}")
    first = entries[0].event
    assert isinstance(first, RunStarted)  # every run begins with it
    started = replace(
        first,
        deadline=None,
        trace_id=trace_id,
        span_id=span_id,
        request_id=request_id,
        tags=named(first.tags),
        parent=None,
        node=None,
        forked_from=run_id,
        forked_at=at,
    )
    kept = [entry for entry in entries[:at] if not isinstance(entry.event, _OWN)]
    seqs = [entry.seq for entry in kept]
    return Entry(event=started), [_moved(entry, seqs) for entry in kept[1:]]


def _moved(entry: Entry, kept: Sequence[int]) -> Entry:
    """The entry as the fork has it: what it says of other places in the journal is said of where they are now."""
    event: Event = entry.event
    match event:
        case ModelReply(seen=int(seen)):
            event = replace(event, seen=bisect_right(kept, seen))
        case InDoubt() | DoubtResolved():
            event = replace(event, started_seq=bisect_right(kept, event.started_seq))
    return Entry(event=event, key=None if entry.key == entry.event.key else entry.key)


def _open(state: RunState) -> CallState | None:
    return next((call for call in state.calls if call.result is None and (call.started or call.approval)), None)


def _how(call: CallState) -> str:
    return "started and has no result yet" if call.started is not None else "with a person for approval"
