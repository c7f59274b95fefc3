"""Errors as HTTP tells them, and what only HTTP can refuse."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException

from quarterdeck.transports.errors import ERRORS

__all__ = ["STATUS", "Refused"]

STATUS: Mapping[str, int] = {code: told.http for code, told in ERRORS.items()}


class Refused(HTTPException):
    """A request that HTTP itself refuses, with a code of the table."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(STATUS[code], message)
        self.code = code
