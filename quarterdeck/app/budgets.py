"""Budgets, as configured."""

from __future__ import annotations

from quarterdeck.app.chains import by_role, prices
from quarterdeck.service.budgets import BudgetLimit, Budgets
from quarterdeck.settings import Settings
from quarterdeck.store.base import Records

__all__ = ["open_budgets"]


def open_budgets(settings: Settings, records: Records) -> Budgets:
    """What may be spent and what was; its `serve` writes it down."""
    limits = [
        BudgetLimit(**{**limit.model_dump(), "downgrade_to": by_role(settings.models, limit.downgrade_to)})
        for limit in settings.budgets
    ]
    return Budgets(records, prices(settings.models), limits, departments=settings.departments)
