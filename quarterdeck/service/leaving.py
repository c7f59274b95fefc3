"""What becomes of a run when whoever asked goes away before it ended."""

from __future__ import annotations

import logging

import anyio

from quarterdeck.core.context import Principal
from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.service.controls import Controls

__all__ = ["abandon"]

_WITHIN_S = 5.0

log = logging.getLogger(__name__)


async def abandon(controls: Controls, principal: Principal, run_id: str) -> None:
    """Cancel the run of somebody who is not there any more, even while this is cancelled, if it can be ended."""
    with anyio.move_on_after(_WITHIN_S, shield=True):
        try:
            await controls.cancel(principal, run_id, "the caller went away")
        except QuarterdeckError as error:
            log.info("the run of a caller that went away was not cancelled: %s", error)
