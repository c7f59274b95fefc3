"""Saying of one value that it is right: less than approving a call, and good for every call of the run that needs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quarterdeck.core.context import Principal
from quarterdeck.core.decisions import Draft, Endorsement, Value
from quarterdeck.core.errors import Conflict, InvalidInput
from quarterdeck.core.events import Endorsed
from quarterdeck.policy.grounding import leaves, names_something
from quarterdeck.store.base import Audit
from quarterdeck.workflow.approvals import Approvals

__all__ = ["endorse"]


async def endorse(
    approvals: Approvals, principal: Principal, draft_id: str, *, argument: str, value: str | float, reason: str = ""
) -> Draft:
    """Endorse one value in the arguments of a waiting draft: policy decides the call again, and later ones by it too.

    If nothing else is in the way, the call runs and the draft is withdrawn; else it goes on waiting. Event, row and audit
    row are one transaction. The same again with the same credential changes nothing.

    Args:
        value: As it stands there, a number also as text.

    Raises:
        NotFound, Forbidden: The principal may not see, or not decide, this draft.
        Conflict: It waits no more; or policy wants several people, and does not demand that this value be endorsed.
        InvalidInput: No such value stands in the argument; or policy wants a reason and there is none.
    """
    draft, record, seat = await approvals.entitled(principal, draft_id)
    if draft.reason_required and not reason:
        raise InvalidInput(f"reason: whoever endorses a value of draft {draft.id} must say why")
    meant = Value(tool=draft.tool, argument=argument, value=_leaf(draft, argument, value))
    if (draft.steps > 1 or draft.quorum > 1) and meant not in draft.endorse:
        raise Conflict(f"draft {draft.id} needs several people; a value that one of them endorsed would pass the others by")
    endorsement = Endorsement(
        value=meant,
        by=principal.user,
        reason=reason,
        roles=tuple(sorted(seat.names.intersection(draft.approvers or ("approver",)))),
        on_behalf_of=None if seat.own else seat.user,
        credential=principal.credential,
    )
    event = Endorsed(id=draft.call_id, draft=draft.id, endorsement=endorsement)
    if any(replace(event, endorsement=each).key == event.key for each in draft.endorsed):
        return draft
    endorsed = replace(draft, endorsed=(*draft.endorsed, endorsement))
    await approvals.post(principal, endorsed, record, event, _audit(principal, draft, endorsement))
    return endorsed


def _leaf(draft: Draft, argument: str, value: str | float) -> Any:
    """The value as the call has it, type and all."""
    for leaf in leaves(draft.args.get(argument)):
        if names_something(leaf) and str(leaf) == str(value):
            return leaf
    raise InvalidInput(f"value: {argument or 'no argument'} of draft {draft.id} holds no such value")


def _audit(principal: Principal, draft: Draft, endorsement: Endorsement) -> Audit:
    behalf = "" if endorsement.on_behalf_of is None else f":for {endorsement.on_behalf_of}"
    return Audit(
        actor=f"user:{principal.user}",
        subject=f"user:{draft.requested_by}",
        action="endorsement",
        object=f"{draft.run_id}:{draft.call_id}:{draft.tool}",
        decision=f"endorsed:{endorsement.value.argument}{behalf}",
        args_hash=draft.args_hash,
    )
