"""Lanes: whose runs go first, and whose are sent away first, where there is not room for all."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Lane"]


class Lane(StrEnum):
    """How urgent a run is."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    EVAL = "eval"

    @property
    def priority(self) -> int:
        """For `Dispatcher.wake`: the smaller goes first."""
        return _ORDER.index(self)


_ORDER = (Lane.INTERACTIVE, Lane.BATCH, Lane.EVAL)
