"""What the ledger of the world and the journals say: was anything lost, repeated, disordered or done unasked?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quarterdeck.core.events import ApprovalDecided, DoubtResolved, FinalAnswer, ModelReply
from quarterdeck.store.base import Entry
from tests.chaos.plan import APPROVED, PAYMENT, READS, TURNS, WRITES, steps

__all__ = ["Verdict", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Attributes: violations, by kind and in words; counts, what was seen besides."""

    violations: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(violation.split(":", 1)[0] for violation in self.violations)


def check(ledger: Sequence[Mapping[str, Any]], journals: Mapping[str, Sequence[Entry]], kills: int) -> Verdict:
    """Compare the outside with the inside.

    Args:
        ledger: Lines of the world: {what: arrived|applied, op, run, call, key, at}.
        journals: Events of every run that was begun.
        kills: How often a worker was killed; each may repeat at most what was in flight in every open run.
    """
    arrived: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    applied: dict[str, Counter[str]] = defaultdict(Counter)
    for line in ledger:
        if line["what"] == "arrived":
            arrived[line["run"]].append(line)
        else:
            applied[line["run"]][line["call"]] += 1
    found: list[str] = []
    for run_id, entries in journals.items():
        found += _check_run(run_id, entries, arrived[run_id], applied[run_id])
    found += _over_bound(arrived, len(journals), kills)
    decided = [e.event for entries in journals.values() for e in entries if isinstance(e.event, ApprovalDecided)]
    doubts = [e for entries in journals.values() for e in entries if e.event.kind == "in_doubt"]
    counts = {
        "runs": len(journals),
        "events": sum(map(len, journals.values())),
        "kills": kills,
        "arrivals": sum(map(len, arrived.values())),
        "repeats": sum(len(lines) - len({line["call"] for line in lines}) for lines in arrived.values()),
        "keyed_applied": sum(count[call] for count in applied.values() for call in WRITES if call != PAYMENT),
        "payments_applied": sum(count[PAYMENT] for count in applied.values()),
        "approvals": len(decided),
        "in_doubt": len(doubts),
    }
    return Verdict(violations=tuple(found), counts=counts)


def _check_run(
    run_id: str, entries: Sequence[Entry], arrived: Sequence[Mapping[str, Any]], applied: Counter[str]
) -> list[str]:
    found: list[str] = []
    if not entries:
        return [f"lost: run {run_id} is gone"]
    if not isinstance(entries[-1].event, FinalAnswer):
        found.append(f"lost: run {run_id} did not end; its last event is {entries[-1].event.kind}")
    if [entry.seq for entry in entries] != list(range(1, len(entries) + 1)):
        found.append(f"disorder: the journal of run {run_id} has a gap")
    calls = {line["call"] for line in arrived}
    not_done = {e.event.id for e in entries if isinstance(e.event, DoubtResolved) and e.event.outcome == "failed"}
    found += [f"lost: call {call} of run {run_id} never arrived" for call in steps() if call not in calls | not_done]
    for call in WRITES:
        keys = {line["key"] for line in arrived if line["call"] == call}
        if len(keys) > 1:
            found.append(f"bad key: call {call} of run {run_id} arrived with {len(keys)} different keys")
        asked = sum(
            isinstance(e.event, DoubtResolved) and e.event.id == call and e.event.outcome == "repeat" for e in entries
        )
        if applied[call] > 1 + asked:
            found.append(f"repeated: call {call} of run {run_id} was applied {applied[call]} times")
    found += _check_approval(run_id, entries, arrived)
    replies = sum(isinstance(entry.event, ModelReply) for entry in entries)
    if replies != TURNS + 1:
        found.append(f"disorder: run {run_id} has {replies} model replies instead of {TURNS + 1}")
    firsts = {call: min(line["at"] for line in arrived if line["call"] == call) for call in calls}
    turns = [max((at for call, at in firsts.items() if call.startswith(f"t{n}c")), default=0.0) for n in range(1, TURNS + 1)]
    if turns != sorted(turns):
        found.append(f"disorder: the turns of run {run_id} arrived out of order")
    return found


def _check_approval(run_id: str, entries: Sequence[Entry], arrived: Sequence[Mapping[str, Any]]) -> list[str]:
    decisions = [entry for entry in entries if isinstance(entry.event, ApprovalDecided)]
    if len(decisions) != 1:
        return [f"approval: run {run_id} has {len(decisions)} decisions instead of one"]
    decided_at = decisions[0].at
    early = [line for line in arrived if line["call"] == APPROVED and decided_at and line["at"] < decided_at.timestamp()]
    return [f"approval: call {APPROVED} of run {run_id} arrived before it was approved"] if early else []


def _over_bound(arrived: Mapping[str, Sequence[Mapping[str, Any]]], runs: int, kills: int) -> list[str]:
    """A kill may repeat, in every run that was open, what was in flight: at most the calls of one turn."""
    repeats = sum(len(lines) - len({line["call"] for line in lines}) for lines in arrived.values())
    worst = max((len(lines) for lines in arrived.values()), default=0)
    bound = kills * (READS + 1)
    per_run = max((len(lines) - len({line["call"] for line in lines}) for lines in arrived.values()), default=0)
    if per_run > bound:
        return [f"over bound: one run repeated {per_run} calls of at most {worst}, {kills} kills explain {bound}"]
    if repeats > bound * runs:
        return [f"over bound: {repeats} repeats where {kills} kills over {runs} runs explain {bound * runs}"]
    return []
