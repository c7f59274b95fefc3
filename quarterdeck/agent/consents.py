"""Whether people have agreed to a call: what policy asks for, against what they said. Pure.

A consent counts only for the arguments and the context it was given for, while its author still has the right it rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Consent, Decision, Level, Terms
from quarterdeck.core.ids import content_hash
from quarterdeck.core.messages import ToolCall

__all__ = ["Asked", "Standing", "context_of", "outstanding", "terms_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A level that people have not agreed to yet.

    Attributes:
        step: Which of the levels, from 1.
        given: Consents that count for it already.
        earlier: Consents that counted for those before it.
    """

    terms: Terms
    level: Level
    step: int
    given: tuple[Consent, ...] = ()
    earlier: tuple[Consent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a consent must stand up to.

    Attributes:
        requested_by: Whoever the call is made for.
        present: By user, those who consented as they are now; None for somebody who may not act any more.
        withdrawn: Credentials people consented with that were taken back since: it may not have been they who did.
    """

    requested_by: str
    args_hash: str
    context: str
    now: datetime
    present: Mapping[str, Principal | None]
    withdrawn: frozenset[str] = frozenset()

    def counts(self, consent: Consent, terms: Terms) -> bool:
        """True if a consent is for this call as it would be executed now, and its author may still give it."""
        if (consent.args_hash, consent.context) != (self.args_hash, self.context) or self.now >= consent.good_until:
            return False
        if consent.credential in self.withdrawn or (terms.four_eyes and self.requested_by in consent.people):
            return False
        return all(self.present.get(person) is not None for person in consent.people)

    def names(self, consent: Consent) -> frozenset[str]:
        """What the person whose right it rests on was called then, and still is."""
        now = self.present.get(consent.right_of)
        kept = frozenset(consent.roles) & frozenset(now.roles if now is not None else ())
        return kept | {f"user:{consent.right_of}"}


def terms_of(decision: Decision) -> Terms:
    """What a decision asks for; decisions of older versions named roles only."""
    if decision.terms is not None:
        return decision.terms
    by = decision.approvers or ("approver",)
    return Terms(levels=(Level(by=by, expires_s=decision.expires_s),), four_eyes=(decision.risk or 0) >= 3)


def context_of(run_id: str, call: ToolCall, decision: Decision) -> str:
    """What a consent is bound to beside the arguments. Who can read what is sent follows from these and the arguments."""
    label = decision.label
    return content_hash(
        [run_id, call.id, call.name, label.integrity, label.readers.clauses, label.sources, decision.policy_version]
    )


def outstanding(terms: Terms, consents: Iterable[Consent], standing: Standing) -> Asked | None:
    """The first level that is not agreed to; None if all are.

    Levels are filled in order with the oldest consents that fit, and every person counts once in all.
    """
    left = [consent for consent in consents if standing.counts(consent, terms)]
    used: list[Consent] = []
    for step, level in enumerate(terms.levels, 1):
        given = _taken(level, left, used, standing)
        if len(given) < level.quorum:
            return Asked(terms=terms, level=level, step=step, given=tuple(given), earlier=tuple(used))
        used += given
    return None


def _taken(level: Level, left: Sequence[Consent], used: Sequence[Consent], standing: Standing) -> list[Consent]:
    heard = {person for consent in used for person in consent.people}
    given: list[Consent] = []
    for consent in left:
        allowed = level.by + (level.escalate_to if consent.escalated else ())
        if len(given) == level.quorum or not heard.isdisjoint(consent.people):
            continue
        if not standing.names(consent).isdisjoint(allowed):
            given.append(consent)
            heard |= consent.people
    return given
