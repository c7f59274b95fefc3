"""Every error Quarterdeck raises, as one tree.

    QuarterdeckError                what a caller may catch to catch all of it
    ├── Misconfigured               a file, setting or declaration is wrong; a person must mend it
    │   └── SchemaMismatch          the store was written by another version
    ├── InvalidInput                the caller sent something that cannot be accepted
    │   ├── InvalidArguments        a tool's arguments fail its schema; the model is told and may repair
    │   ├── KeyReused               the idempotency key belongs to another request
    │   ├── TooLarge                a size limit was passed
    │   └── ContextTooLarge         the conversation does not fit the model's window
    ├── Unauthenticated             no credential, or a wrong one
    ├── Forbidden                   known, but without the right
    ├── NotFound                    no such thing, or it belongs to somebody else
    ├── Conflict                    the thing has moved on: decided twice, closed, still under way
    ├── Unavailable                 a part we depend on does not answer
    │   ├── ModelUnavailable        the model did not answer: network failure, 408, 409, 429 or 5xx
    │   └── StoreUnavailable        the database or its folder cannot be used now
    ├── ModelRefused                the model's provider rejected the request: key, permission, bad request
    │   └── Filtered                the provider's content policy stopped the answer
    ├── ModelInvalid                the model answered with something that is no answer
    │   └── Truncated               the reply ended inside a tool call
    ├── RateLimited                 more was asked than may be now: by a rule, or because there is no room
    ├── DeadlineExceeded            the caller's time is over
    ├── BudgetExceeded              tokens or money allowed for this are spent
    └── Fenced                      another worker claimed the run: stop, write nothing more

Each class has a stable ``code`` for clients and says whether trying again can help (``retryable``). A class exists only
where somebody handles it differently. Refusals of a tool, time-outs of a tool and waiting approvals are results, not errors.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from quarterdeck.core.usage import Usage

__all__ = [
    "BudgetExceeded",
    "Conflict",
    "ContextTooLarge",
    "DeadlineExceeded",
    "Fenced",
    "Filtered",
    "Forbidden",
    "InvalidArguments",
    "InvalidInput",
    "KeyReused",
    "Misconfigured",
    "ModelInvalid",
    "ModelRefused",
    "ModelUnavailable",
    "NotFound",
    "QuarterdeckError",
    "RateLimited",
    "SchemaMismatch",
    "StoreUnavailable",
    "TooLarge",
    "Truncated",
    "Unauthenticated",
    "Unavailable",
    "error_of",
]


class QuarterdeckError(Exception):
    """The root. Its message says what happened, with which value, and what to do; never a secret or a prompt.

    Attributes:
        usage: What model calls consumed before it, None if nothing is known of it.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    usage: Usage | None = None


class Misconfigured(QuarterdeckError):
    """A file, setting or declaration is wrong; the message names the place."""

    code = "misconfigured"


class SchemaMismatch(Misconfigured):
    """The store was written with another schema version than this program knows."""

    code = "schema_mismatch"


class InvalidInput(QuarterdeckError):
    """The caller sent something that cannot be accepted."""

    code = "invalid_input"


class InvalidArguments(InvalidInput):
    """A tool's arguments fail its schema."""

    code = "invalid_arguments"


class KeyReused(InvalidInput):
    """The idempotency key was used for another request; this one needs a key of its own."""

    code = "key_reused"


class TooLarge(InvalidInput):
    """A size limit was passed."""

    code = "too_large"


class ContextTooLarge(InvalidInput):
    """The conversation does not fit the model's window."""

    code = "context_too_large"


class Unauthenticated(QuarterdeckError):
    """No credential was given, or a wrong one."""

    code = "unauthenticated"


class Forbidden(QuarterdeckError):
    """The caller is known but lacks the right."""

    code = "forbidden"


class NotFound(QuarterdeckError):
    """No such thing, or it belongs to another tenant: the two are answered alike."""

    code = "not_found"


class Conflict(QuarterdeckError):
    """The thing has moved on since the caller looked."""

    code = "conflict"


class Unavailable(QuarterdeckError):
    """A part we depend on does not answer now."""

    code = "unavailable"
    retryable = True


class ModelUnavailable(Unavailable):
    """The model did not answer: network failure, 408, 409, 429 or 5xx.

    Attributes:
        status: HTTP status, None when no answer came.
        retry_after_s: What the provider asked for, in seconds, or None.
        delivered: True when a part of the answer was already passed on, so that a retry would repeat it.
    """

    code = "model_unavailable"

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_s: float | None = None, delivered: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.delivered = delivered


class StoreUnavailable(Unavailable):
    """The database or its folder cannot be used now."""

    code = "store_unavailable"


class ModelRefused(QuarterdeckError):
    """The model's provider rejected the request; sending it again cannot help.

    Attributes:
        status: HTTP status, None when the refusal came in the body of a success.
    """

    code = "model_refused"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Filtered(ModelRefused):
    """The provider's content policy stopped the answer."""

    code = "filtered"


class ModelInvalid(QuarterdeckError):
    """The model answered with something that is no answer: no choices, an HTML page, a stream without an end."""

    code = "upstream_invalid"

    def __init__(self, message: str, *, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage


class Truncated(ModelInvalid):
    """The reply ended inside a tool call (finish reason "length"); a partial call is never executed."""

    code = "truncated"


class RateLimited(QuarterdeckError):
    """More was asked than may be asked now: a rate limit is reached, or there is no room for another run.

    Attributes:
        retry_after_s: Seconds until it is worth asking again.
        reason: ``rate_limit`` for a rule, ``no_room`` where as many runs are under way as can be served.
    """

    code = "rate_limited"
    retryable = True

    def __init__(
        self, message: str, *, retry_after_s: float = 1.0, reason: Literal["rate_limit", "no_room"] = "rate_limit"
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.reason = reason


class DeadlineExceeded(QuarterdeckError):
    """The caller's time is over.

    Attributes:
        waited_s: Seconds a provider had let the caller wait without a word.
    """

    code = "deadline_exceeded"
    waited_s: float = 0.0


class BudgetExceeded(QuarterdeckError):
    """Tokens or money allowed for this are spent."""

    code = "budget_exceeded"


class Fenced(QuarterdeckError):
    """Another worker claimed the run: stop, write nothing more."""

    code = "fenced"


def error_of(code: str, message: str) -> QuarterdeckError:
    """An error of the class with this `code`, as a run recorded it; of the root's class when the code is unknown."""
    kinds = [QuarterdeckError]
    while kinds:
        kind = kinds.pop()
        if kind.code == code:
            return kind(message)
        kinds += kind.__subclasses__()
    return QuarterdeckError(message)
