"""What every provider's adapter needs of HTTP: JSON both ways, and errors read from status, headers and body."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any

from quarterdeck.core.errors import ContextTooLarge, Filtered, ModelRefused, ModelUnavailable, QuarterdeckError
from quarterdeck.core.masking import MASK, Mask

try:
    import orjson
except ImportError:  # the library install does without it
    orjson = None  # type: ignore[assignment]  # a module has no type that allows None

__all__ = ["Fault", "decode", "encode", "failure", "negotiable", "read_fault", "retry_after_s", "shortened"]

_FILTERED = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "ResponsibleAIPolicyViolation",
        "bio_policy",
        "misalignment_policy_violation",
        "image_content_policy_violation",
    }
)
_TOO_LONG = ("context length", "context limit", "context window", "prompt is too long")
_MAY_PASS = frozenset({408, 409, 429})
_LOOKS = Mask()


def encode(value: Any) -> bytes:
    """`value` as JSON. Mappings of any kind are objects; lone surrogates, which no UTF-8 can carry, become ``?``."""
    if orjson is not None:
        try:
            return orjson.dumps(value, default=_plain)
        except TypeError:
            pass  # a lone surrogate, or an integer of more than 64 bits
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    return text.encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def decode(data: bytes | str) -> Any:
    """The value of a JSON text. Lone surrogates, as a reply cut inside an emoji holds, become U+FFFD.

    Raises:
        ValueError: It is not JSON, holds NaN or infinity, or is nested too deeply.
    """
    # Not orjson: it makes floats of integers over 64 bits, and a rounded account number is another account.
    try:
        text = data if isinstance(data, str) else data.decode()
        value = _STRICT.decode(text)
        if "\\ud" not in text and "\\uD" not in text:
            return value
        joined = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return json.loads(joined)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON value")


def _finite(digits: str) -> float:
    if not isfinite(value := float(digits)):
        raise ValueError(f"{digits[:20]} is no finite number")
    return value


_STRICT = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a provider says is wrong.

    Attributes:
        code: Its own code, or the kind of error where it gives none.
        param: The parameter it objects to.
    """

    message: str
    code: str = ""
    param: str = ""


def read_fault(body: Any, secret: str = "") -> Fault:
    """The fault in a decoded error body of any of the usual shapes, or in plain text. `secret` is removed from it."""
    if not isinstance(body, dict):
        return Fault(message=shortened(body if isinstance(body, str) else "", secret))
    error = body.get("error", body)
    if not isinstance(error, dict):
        return Fault(message=shortened(str(error), secret))
    inner = error.get("innererror")
    inner_code = inner.get("code") if isinstance(inner, dict) else None
    message = error.get("message") or error.get("detail") or ""
    return Fault(
        message=shortened(message if isinstance(message, str) else encode(message).decode(), secret),
        code=str(inner_code or error.get("code") or error.get("type") or ""),
        param=str(error.get("param") or ""),
    )


def negotiable(fault: Fault, params: Collection[str]) -> str | None:
    """The one of `params` that a model said it does not take, None if the fault is another."""
    refused = fault.code.startswith("unsupported_") or "not supported" in fault.message.lower()
    return fault.param if refused and fault.param in params else None


def shortened(text: str, secret: str = "", limit: int = 300) -> str:
    """`text` fit for a message: one printable line, at most `limit` characters, without what looks like a credential."""
    if secret:
        text = text.replace(secret, MASK)
    text = _LOOKS.text(text[: 4 * limit])
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def failure(model: str, status: int | None, headers: Mapping[str, str], fault: Fault) -> QuarterdeckError:
    """The error that `fault` is; `status` is None when it came in the body of a success."""
    request_id = headers.get("x-request-id") or headers.get("request-id") or headers.get("apim-request-id")
    what = f"{model} answered {status}" if status else f"{model} reported an error"
    message = f"{what}: {fault.message or 'without an explanation'}"
    if request_id:
        message += f" (request {shortened(request_id, limit=80)})"
    if fault.code in _FILTERED:
        return Filtered(message, status=status)
    if fault.code == "context_length_exceeded" or (
        status == 400 and any(phrase in fault.message.lower() for phrase in _TOO_LONG)
    ):
        return ContextTooLarge(message)
    if (status is None and fault.code != "invalid_request_error") or (status and (status in _MAY_PASS or status >= 500)):
        return ModelUnavailable(message, status=status, retry_after_s=retry_after_s(headers))
    return ModelRefused(message, status=status)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds a provider asks to wait, from ``retry-after-ms`` or ``Retry-After`` (seconds or a date); None if it does not.

    Args:
        headers: Looked up as given, so they must ignore case. A date is compared with their own ``Date`` where there is one.
        now: For a date without ``Date`` beside it; None for the current time.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("Retry-After")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    until = _date(value)
    if until is None:
        return None
    return max(0.0, (until - (_date(headers.get("Date", "")) or now or datetime.now(UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return max(0.0, value) if isfinite(value) else None


def _date(text: str) -> datetime | None:
    try:
        value = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)
