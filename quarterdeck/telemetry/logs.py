"""Logs: one JSON object per line on standard error, with the ids of the request and the run it belongs to.

The code logs through the standard library (``logging.getLogger(__name__)``, fields in ``extra``), so that the configuration
of a library's user works too. `configure` is for servers: structlog renders, and it is imported only then.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import logging.config
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from quarterdeck.core.masking import Mask
from quarterdeck.core.personal import without_personal

__all__ = ["bound", "bound_ids", "configure"]

_OURS = frozenset(
    "timestamp level logger method route status request_id trace_id span_id parent_span_id session_trace_id "
    "tenant run_id".split()
)
"""Fields that hold nothing but what was checked when it came in: their digits are no telephone numbers."""

_IDS: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("quarterdeck_log_ids")


def bound_ids() -> Mapping[str, str]:
    """The ids every line of this task carries now."""
    return _IDS.get({})


@contextlib.contextmanager
def bound(**ids: str | None) -> Iterator[None]:
    """Add ids (request_id, trace_id, tenant, run_id) to every line logged inside; None adds nothing."""
    token = _IDS.set({**bound_ids(), **{name: value for name, value in ids.items() if value is not None}})
    try:
        yield
    finally:
        _IDS.reset(token)


def configure(level: str = "info", *, secrets: Iterable[str] = (), personal: bool = False) -> None:
    """Make the standard library's loggers write JSON lines. For programs that own their process, not for libraries.

    Args:
        secrets: Never written, wherever they stand; what looks like a credential is masked without being named.
        personal: Write mail addresses, telephone, card and account numbers. Else they are masked.
    """
    import structlog

    before: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_ids,
    ]
    after: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _masked(Mask(secrets), personal=personal),
        # Its default escapes every character that is not ASCII: no text can end the line or turn its direction.
        structlog.processors.JSONRenderer(default=repr),
    ]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {"()": structlog.stdlib.ProcessorFormatter, "processors": after, "foreign_pre_chain": before}
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level.upper()},
            # Their notes on starting and stopping are ours to say.
            "loggers": {
                "uvicorn": {"level": "WARNING"},
                "procrastinate": {"level": "WARNING"},
                "psycopg": {"level": "ERROR"},  # an outage is told once, not at each attempt to connect
            },
        }
    )
    _log_uncaught()


def _log_uncaught() -> None:
    """What nobody caught, in a thread or at the end, becomes a line like every other."""
    log = logging.getLogger("quarterdeck")
    threading.excepthook = lambda told: log.critical("a thread ended by an error", exc_info=told.exc_value or True)
    sys.excepthook = lambda kind, error, trace: log.critical("the process ends by an error", exc_info=(kind, error, trace))
    logging.captureWarnings(capture=True)


def _add_ids(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
    for name, value in bound_ids().items():
        event.setdefault(name, value)
    return event


def _masked(mask: Mask, *, personal: bool) -> Callable[[object, str, dict[str, Any]], dict[str, Any]]:
    """What takes credentials, and unless they are wanted personal data, out of a line that is whole otherwise."""

    def text(value: str) -> str:
        return mask.text(value) if personal else without_personal(mask.text(value))

    def clean(value: Any) -> Any:
        match value:
            case str():
                return text(value)
            case Mapping():
                return {text(str(key)): clean(item) for key, item in value.items()}
            case list() | tuple():
                return [clean(item) for item in value]
            case None | bool() | int() | float():
                return value
        return text(repr(value))

    def process(logger: object, method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {name: value if name in _OURS else clean(value) for name, value in event.items()}

    return process
