"""Real traffic on tape: a proxy that writes down what a provider answers, and a player that answers from it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import orjson

from quarterdeck.core.errors import Misconfigured, QuarterdeckError
from quarterdeck.core.ids import content_hash
from quarterdeck.core.masking import Mask
from quarterdeck.devtools.simulator.exchange import Answer, Incoming
from quarterdeck.devtools.simulator.masked import masked_body, masked_stream
from quarterdeck.devtools.simulator.refusals import Refusal, unmatched
from quarterdeck.net.client import GuardedClient

__all__ = ["Player", "Recorder", "Tape"]

_NOT_FORWARDED = frozenset("host content-length connection accept-encoding transfer-encoding".split())
_KEPT = re.compile(r"content-type|retry-after(-ms)?|x-should-retry|x-ratelimit-.*|anthropic-ratelimit-.*")
_TIMEOUT_S = 600.0
_MAX_BYTES = 64 << 20


class Tape(Protocol):
    """Answers in place of a brain."""

    async def answer(self, incoming: Incoming) -> Answer: ...


class Recorder:
    """Forwards each request and appends it, with its answer and without secrets, to a cassette of JSON lines."""

    def __init__(self, path: Path, upstream: str, client: GuardedClient) -> None:
        """
        Args:
            upstream: The provider's base URL, such as ``https://host/v1``.
            client: Open, and allowed to call it.
        """
        self._path = path
        self._upstream = upstream.rstrip("/")
        self._client = client

    async def answer(self, incoming: Incoming) -> Answer:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in incoming.headers.items()}
        sent = {
            name: value for name, value in headers.items() if name not in _NOT_FORWARDED and not name.startswith("x-sim-")
        }
        url = f"{self._upstream}{incoming.path}{'?' if incoming.query else ''}{incoming.query}"
        try:
            async with self._client.open(
                incoming.method, url, headers=sent, body=incoming.body or None, timeout_s=_TIMEOUT_S, max_bytes=_MAX_BYTES
            ) as reply:
                status = reply.status
                kept = {name.lower(): value for name, value in reply.headers.items() if _KEPT.fullmatch(name.lower())}
                body = await reply.read()
        except QuarterdeckError as error:
            raise Refusal(502, f"The provider could not be reached: {error}", kind="simulator_error") from error
        mask = Mask(_keys(incoming))
        said = masked_stream if _is_stream(kept) else masked_body
        line = {
            "request": {"method": incoming.method, "path": incoming.path, "body": mask.value(_value(incoming.body))},
            "response": {"status": status, "headers": kept, "body": said(body.decode("utf-8", "replace"), mask)},
        }
        _append(self._path, orjson.dumps(line) + b"\n")
        return _answer(status, kept, body)


def _append(path: Path, line: bytes) -> None:
    with open(path, "ab", opener=_for_the_owner) as cassette:
        cassette.write(line)


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # what was asked is nobody else's business


class Player:
    """Answers each request with what was recorded for it; equal requests in the order of their recording."""

    def __init__(self, path: Path) -> None:
        """Raises Misconfigured if there is no cassette, or it is none."""
        self._known: dict[str, list[Mapping[str, Any]]] = {}
        self._played: dict[str, int] = {}
        try:
            for line in path.read_bytes().splitlines():
                recorded = orjson.loads(line)
                self._known.setdefault(_key(recorded["request"]), []).append(recorded["response"])
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise Misconfigured(f"{path} is no cassette: {error}") from error

    async def answer(self, incoming: Incoming) -> Answer:
        body = Mask(_keys(incoming)).value(_value(incoming.body))
        key = _key({"method": incoming.method, "path": incoming.path, "body": body})
        recorded = self._known.get(key)
        if recorded is None:
            others = len(self._known)
            text = f"{incoming.method} {incoming.path} with this body is not on the cassette, which has {others} others"
            raise unmatched(text)
        position = self._played.get(key, 0)
        self._played[key] = position + 1
        response = recorded[min(position, len(recorded) - 1)]
        return _answer(response["status"], response["headers"], response["body"].encode())


def _answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """The recorded answer; a stream is cut into its events, so that faults find their places."""
    sent = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    if not _is_stream(headers):
        return Answer(status=status, headers=sent, acts=(body,))
    events = [event for event in re.split(rb"(?<=\n\n)", body) if event]
    return Answer(status=status, headers=sent, acts=events, streamed=True, tokens=len(events))


def _is_stream(headers: Mapping[str, str]) -> bool:
    return "event-stream" in headers.get("content-type", "")


def _key(request: Mapping[str, Any]) -> str:
    return content_hash([request["method"], request["path"], request["body"]])


def _value(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")


def _keys(incoming: Incoming) -> list[str]:
    """The credentials a request bears."""
    borne = (incoming.headers.get(name, b"").decode("latin-1") for name in (b"authorization", b"x-api-key", b"api-key"))
    return [key for value in borne if (key := re.sub("^(?:bearer|basic) ", "", value, flags=re.IGNORECASE).strip())]
