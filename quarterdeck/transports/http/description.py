"""The interface described as OpenAPI 3.1: what the routes declare, with an example of every body."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI

from quarterdeck.transports.http.examples import EXAMPLES

__all__ = ["allowed", "described"]

_PLACE = re.compile(r"\{[^}]+\}")


def described(app: FastAPI) -> dict[str, Any]:
    """The description, made at the first call."""
    document = app.openapi()
    schemas = document["components"]["schemas"]
    for name in schemas.keys() & EXAMPLES.keys():
        schemas[name]["examples"] = [EXAMPLES[name]]
    return document


def allowed(app: FastAPI, path: str) -> str:
    """The methods of an address, as the header ``Allow`` has them; empty for one that is not described."""
    for template, operations in described(app)["paths"].items():
        if re.fullmatch("[^/]+".join(map(re.escape, _PLACE.split(template))), path):
            return ", ".join(sorted({*map(str.upper, operations), *(("HEAD",) if "get" in operations else ())}))
    return ""
