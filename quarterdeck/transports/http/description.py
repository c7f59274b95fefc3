"""The interface described as OpenAPI 3.1: what the routes declare, with an example of every body."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from quarterdeck.transports.http.examples import EXAMPLES

__all__ = ["described"]


def described(app: FastAPI) -> dict[str, Any]:
    """The description, made at the first call."""
    document = app.openapi()
    schemas = document["components"]["schemas"]
    for name in schemas.keys() & EXAMPLES.keys():
        schemas[name]["examples"] = [EXAMPLES[name]]
    return document
