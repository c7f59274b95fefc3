"""Errors as HTTP tells them, and what only HTTP can refuse."""

from __future__ import annotations

import math
from collections.abc import Mapping

from starlette.exceptions import HTTPException

from quarterdeck.core.errors import QuarterdeckError
from quarterdeck.transports.errors import ERRORS

__all__ = ["STATUS", "Refused", "retry_after"]

STATUS: Mapping[str, int] = {code: told.http for code, told in ERRORS.items()}


def retry_after(error: QuarterdeckError) -> str:
    """The header of an error that may pass: whole seconds, and never none, or clients would come back at once."""
    return str(max(1, math.ceil(getattr(error, "retry_after_s", None) or 1.0)))


class Refused(HTTPException):
    """A request that HTTP itself refuses, with a code of the table."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(STATUS[code], message)
        self.code = code
