"""Logs and the ids that tie their lines to requests and runs."""

from quarterdeck.telemetry.logs import bound, bound_ids, configure

__all__ = ["bound", "bound_ids", "configure"]
