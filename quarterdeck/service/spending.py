"""What was consumed, for those who may know: everybody what he consumed himself."""

from __future__ import annotations

from datetime import UTC, date, datetime

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import Forbidden, InvalidInput
from quarterdeck.service.budgets import Budgets, Cost
from quarterdeck.service.tallies import Scope

__all__ = ["MAX_DAYS", "READS_COSTS", "Spending"]

MAX_DAYS = 93
READS_COSTS = "costs.read"


class Spending:
    """Costs of a tenant, before people."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    async def costs(
        self,
        principal: Principal,
        scope: Scope,
        *,
        since: date | None = None,
        until: date | None = None,
        name: str | None = None,
    ) -> list[Cost]:
        """By holder, day and model; see `Budgets.costs`.

        Raises:
            Forbidden: It is about others, and the principal lacks the scope ``costs.read``.
            InvalidInput: The days end before they begin or are too many, or a run is not named.
        """
        if READS_COSTS not in principal.scopes:
            if scope != "user" or name not in (None, principal.user):
                raise Forbidden(f"without the scope {READS_COSTS} one sees what one consumed oneself: scope user, no name")
            name = principal.user
        if scope == "run" and name is None:
            raise InvalidInput("the costs of a run are asked for by its id, as name")
        today = datetime.now(UTC).date()
        days = ((until or today) - (since or until or today)).days + 1
        if not 1 <= days <= MAX_DAYS:
            raise InvalidInput(f"until must not lie before since, and at most {MAX_DAYS} days are told at once")
        return await self._budgets.costs(principal.tenant, scope, since=since or until, until=until, name=name)
