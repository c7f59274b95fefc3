"""Errors as gRPC tells them."""

from __future__ import annotations

from collections.abc import Mapping

from grpc import StatusCode

from quarterdeck.transports.errors import ERRORS

__all__ = ["STATUS"]

STATUS: Mapping[str, StatusCode] = {code: StatusCode[told.grpc] for code, told in ERRORS.items() if told.grpc is not None}
