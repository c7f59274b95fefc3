"""Whether the audit log tells of every decision, approval and effect of the journals once, and of nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from quarterdeck.core.events import ApprovalDecided, Decided, DoubtResolved, ToolReturned, ToolStarted
from quarterdeck.store.base import Entry

__all__ = ["compare"]

_Told = tuple[str, str, str, str]  # run, call, action, outcome


def compare(journals: Mapping[str, Sequence[Entry]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What has no row, and what rows tell of nothing; empty if each has exactly one.

    Args:
        rows: Of the audit log of the tenant whose runs these are, every one.
    """
    happened = Counter(told for run_id, entries in journals.items() for told in _happened(run_id, entries))
    written = Counter(map(_written, rows))
    missing = [f"{what}: {count} without a row" for what, count in (happened - written).items()]
    return [*missing, *(f"{what}: {count} rows too many" for what, count in (written - happened).items())]


def _happened(run_id: str, entries: Sequence[Entry]) -> Iterator[_Told]:
    """What an auditor is told of. A started write that a person settled is told of by that person's word alone."""
    begun: dict[str, bool] = {}
    for event in (entry.event for entry in entries):
        match event:
            case Decided(decisions=decisions):
                for each in decisions:
                    yield run_id, each.call_id, "decision", f"{each.verdict}:{each.rule}"
            case ApprovalDecided():
                yield run_id, event.id, "approval", "approved" if event.approved else "rejected"
            case DoubtResolved():
                begun[event.id] = False
                yield run_id, event.id, "approval", f"doubt:{event.outcome}"
            case ToolStarted():
                begun[event.id] = True
            case ToolReturned(result=result) if begun.get(result.call_id):
                yield run_id, result.call_id, "effect", f"{result.status}" + (f":{result.error}" if result.error else "")


def _written(row: Mapping[str, Any]) -> _Told:
    run_id, call, _ = row["object"].split(":", 2)
    return run_id, call, row["action"], row["decision"]
