"""What can go wrong between a client and a model, at an exact place: "third request, after the fifth chunk: cut"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from math import inf
from typing import Any, Literal, get_args

from pydantic import with_config

from quarterdeck.core.errors import InvalidInput
from quarterdeck.devtools.simulator.exchange import JSON, Act, Answer, Break, Pause
from quarterdeck.devtools.simulator.refusals import Dialect, Refusal, error_body, error_event
from quarterdeck.devtools.simulator.seeds import Dice
from quarterdeck.devtools.simulator.strict import STRICT

__all__ = ["Fault", "FaultKind", "broken", "failed", "parse_fault"]

FaultKind = Literal[
    "status", "rate_limit", "slow", "stall", "cut", "end", "malformed", "html", "error_event", "empty", "fragments"
]
_REPLACES = frozenset({"status", "rate_limit", "html", "empty"})
_HTML = (
    b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center>"
    b"<hr><center>nginx</center></body></html>"
)


@with_config(STRICT)
@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, and where.

    status: an error in the provider's shape. rate_limit: 429 with its headers. slow: `delay_s` pass. stall: silence until
    the client leaves. cut: the connection closes without an end. end: the body ends in order, but too early. malformed: JSON
    that is none. html: a proxy's error page with status 200. error_event: an error inside the stream. empty: no body at all.
    fragments: the bytes come `size` at a time, whatever they cut.

    Attributes:
        request: Which request of its trace, from 1; None for every one.
        times: To how many requests it happens; None for all.
        after_chunk: After so many events of a stream; None for before anything was sent. For a reply in one piece, any
            number means in the middle of its body.
        path: Only to paths that match, such as ``*/embeddings``; `model` the same for the model's name.
        chance: Happens with this probability, decided by the seed.
        status, code, kind_of_error, message: Of the error told.
        retry_after_s: For 429 and 503.
    """

    kind: FaultKind
    request: int | None = None
    times: int | None = None
    after_chunk: int | None = None
    path: str = "*"
    model: str = "*"
    chance: float = 1.0
    status: int | None = None
    code: str | None = None
    kind_of_error: str = ""
    message: str = ""
    retry_after_s: float | None = None
    delay_s: float = 0.0
    size: int = 7

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise InvalidInput(f"no such fault: {self.kind!r}; there are {', '.join(get_args(FaultKind))}")
        if self.size < 1 or not 0 <= self.chance <= 1:
            raise InvalidInput(f"no such fault: {self}; size is at least 1, chance within 0 and 1")
        if not 0 <= self.delay_s < inf or not 0 <= (self.retry_after_s or 0) < inf:
            raise InvalidInput(f"no such fault: {self}; delay_s and retry_after_s are at least 0")
        if (self.after_chunk or 0) < 0 or not 200 <= (self.status or 200) < 600:
            raise InvalidInput(f"no such fault: {self}; after_chunk is at least 0, status within 200 and 599")

    def hits(self, *, number: int, path: str, model: str, dice: Dice) -> bool:
        """True if it happens to this request."""
        return (
            (self.request is None or self.request == number)
            and fnmatchcase(path, self.path)
            and fnmatchcase(model, self.model)
            and (self.chance >= 1 or dice.random.random() < self.chance)
        )


def parse_fault(text: str) -> Fault:
    """A fault from a header: ``cut after_chunk=5 request=3``, or a status alone: ``503``.

    Raises:
        InvalidInput: It says something else.
    """
    words = text.replace(",", " ").replace(";", " ").split()
    if words and words[0].isdecimal():
        words = ["rate_limit" if words[0] == "429" else "status", f"status={words[0]}", *words[1:]]
    types = {field.name: str(field.type) for field in fields(Fault)}
    given: dict[str, Any] = {"kind": words[0] if words else ""}
    for word in words[1:]:
        name, _, value = word.partition("=")
        if name not in types or name == "kind":
            raise InvalidInput(f"a fault has no {name!r}: write for example 'cut after_chunk=5 request=3'")
        try:
            given[name] = int(value) if "int" in types[name] else float(value) if "float" in types[name] else value
        except ValueError as error:
            raise InvalidInput(f"the fault's {name} is no number: {value!r}") from error
    return Fault(**given)


def failed(fault: Fault, dialect: Dialect, request_id: str, limits: Sequence[tuple[bytes, bytes]]) -> Answer | None:
    """The answer in place of the real one, None if the fault befalls the real one.

    Args:
        limits: Headers a refusal for its rate carries.
    """
    if fault.kind not in _REPLACES or (fault.after_chunk is not None and fault.kind != "html"):
        return None
    if fault.kind == "html":
        return Answer(status=fault.status or 200, headers=((b"content-type", b"text/html"),), acts=(_HTML,))
    if fault.kind == "empty":
        return Answer(status=fault.status or 200, headers=(JSON,), acts=())
    status = fault.status or (429 if fault.kind == "rate_limit" else 500)
    refusal = Refusal(status, fault.message, kind=fault.kind_of_error, code=_code(fault, status, dialect))
    headers: list[tuple[bytes, bytes]] = [JSON]
    if status == 429 and fault.code != "insufficient_quota":
        headers += limits
    seconds = fault.retry_after_s if fault.retry_after_s is not None else 1.0 if fault.kind == "rate_limit" else None
    if seconds is not None:
        headers.append((b"retry-after", f"{seconds:g}".encode()))
        if dialect == "openai":
            headers.append((b"retry-after-ms", f"{seconds * 1000:.0f}".encode()))
    return Answer(status=status, headers=headers, acts=(error_body(refusal, dialect, request_id),))


def _code(fault: Fault, status: int, dialect: Dialect) -> str | None:
    if fault.code is not None or dialect == "anthropic":
        return fault.code
    return {429: "rate_limit_exceeded", 401: "invalid_api_key"}.get(status)


def broken(answer: Answer, fault: Fault, dialect: Dialect, request_id: str) -> Answer:
    """`answer` with `fault` in it."""
    if fault.kind == "fragments":
        body = b"".join(act for act in answer.acts if isinstance(act, bytes))
        acts: list[Act] = []
        for start in range(0, len(body), fault.size):
            acts += (body[start : start + fault.size], Break.FLUSH)
        return replace(answer, acts=acts)
    before, after = _split(answer, fault)
    match fault.kind:
        case "slow":
            return replace(answer, acts=(*before, Pause(fault.delay_s), *after))
        case "stall":
            return replace(answer, acts=(*before, Break.STALL))
        case "cut":
            return replace(answer, acts=(*before, Break.CUT))
        case "end":
            return replace(answer, acts=(*before, Break.END))
        case "malformed":
            return replace(answer, acts=_garbled(answer, before, after))
        case "error_event":
            refusal = Refusal(fault.status or (529 if dialect == "anthropic" else 500), fault.message, code=fault.code)
            return replace(answer, acts=(*before, error_event(refusal, dialect, request_id), Break.END))
    return answer


def _split(answer: Answer, fault: Fault) -> tuple[Sequence[Act], Sequence[Act]]:
    """What is sent before the fault, and what would have been sent after it."""
    if fault.after_chunk is None:
        return (), answer.acts
    if fault.after_chunk == 0:
        return (Break.FLUSH,), answer.acts  # the head alone
    if answer.streamed:
        return answer.acts[: fault.after_chunk], answer.acts[fault.after_chunk :]
    body = b"".join(act for act in answer.acts if isinstance(act, bytes))
    half = len(body) // 2
    return (body[:half],), (body[half:],)


def _garbled(answer: Answer, before: Sequence[Act], after: Sequence[Act]) -> Sequence[Act]:
    """A body whose JSON breaks off: the event after `before`, or the one body there is."""
    if not answer.streamed:
        body = b"".join(act for act in answer.acts if isinstance(act, bytes))
        return (body[: max(1, len(body) * 2 // 3)],)
    event = next((act for act in after if isinstance(act, bytes)), b"data: {}\n\n")
    return (*before, event.rstrip(b"\n")[:-2] + b"\n\n", *after[1:])
