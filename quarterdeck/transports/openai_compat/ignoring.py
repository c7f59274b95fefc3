"""Clients are told what of their request changed nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fastapi import Response

__all__ = ["marked"]

_HEADER = "X-Quarterdeck-Warning"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_MAX_NAMED = 20


def marked(answer: Response, names: Iterable[str]) -> Response:
    """`answer`, which names fields and parameters that were ignored, as far as they are fit for a header."""
    fit = sorted(name for name in names if _NAME.match(name))[:_MAX_NAMED]
    if fit:
        before = answer.headers.get(_HEADER)
        answer.headers[_HEADER] = f"{before or 'ignored:'}{',' if before else ''} {', '.join(fit)}"
    return answer
