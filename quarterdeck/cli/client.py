"""A server as the command line talks to it: plain HTTP with the standard library, which is loaded in no time."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import typer

from quarterdeck.core.errors import InvalidInput, Unavailable, error_of

__all__ = ["Client", "Key", "Url", "segment"]

Url = Annotated[str, typer.Option(envvar="QUARTERDECK_URL", help="Address of the server.")]
Key = Annotated[
    str | None, typer.Option(envvar="QUARTERDECK_KEY", help="API key; on loopback in development none is needed.")
]


class _StaysThere(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: a redirect would take the key along to whomever it names."""

    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None


def segment(id: str) -> str:
    """An id as one segment of a path.

    Raises:
        InvalidInput: It would be none, or several: servers and proxies before them read ``%2F`` as ``/`` and follow ``..``;
            or it is no text.
    """
    try:
        if id not in ("", ".", "..") and "/" not in id and "\\" not in id:
            return urllib.parse.quote(id, safe="")
    except UnicodeEncodeError:
        pass
    raise InvalidInput(f"{id!r} is no id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Calls one server with one key. Errors come back as the classes the server raised.

    Attributes:
        lane: How urgent the calls are, None for the server's default.
    """

    url: str
    key: str | None = None
    timeout_s: float = 120.0  # without a byte from the server
    lane: str | None = None

    def get(self, path: str, **query: str | int | None) -> Any:
        return self._asked("GET", path, query=[(name, value) for name, value in query.items() if value is not None])

    def post(self, path: str, body: Mapping[str, Any], *, once: str | None = None) -> Any:
        """What the server says of it; `once` is an Idempotency-Key, under which it is done but once."""
        return self._asked("POST", path, body, {"Idempotency-Key": once} if once else {})

    def delete(self, path: str) -> Any:
        """What the server says of what it took away."""
        return self._asked("DELETE", path)

    def download(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer as it comes, to be read in pieces and closed."""
        return self._open("POST", path, body)

    def upload(self, path: str, data: bytes, query: Sequence[tuple[str, str]]) -> Any:
        """Send the bytes of a file as they are."""
        return self._asked("POST", path, data, query=query)

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Event names and their data, until the server says that it is done. Raises Unavailable where it never does."""
        yield from self._events("POST", path, body)

    def follow(self, run_id: str) -> Iterator[tuple[str, Any]]:
        """What happened and happens in a run, until it ends. Raises Unavailable where nothing more can be told."""
        yield from self._events("GET", f"/api/v1/runs/{segment(run_id)}/events")

    def _events(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[tuple[str, Any]]:
        event = "message"
        try:
            with self._open(method, path, body) as reply:
                for raw in reply:
                    name, _, value = raw.decode().rstrip("\r\n").partition(": ")
                    if name == "event":
                        event = value
                    elif name == "data":
                        if value == "[DONE]":
                            return
                        yield event, json.loads(value)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"the stream from {self.url} was cut; its run goes on: {error}") from error
        raise Unavailable(f"the stream from {self.url} was cut; its run goes on")

    def _asked(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
        query: Sequence[tuple[str, str | int]] = (),
    ) -> Any:
        try:
            with self._open(method, path, body, more, query) as reply:
                return json.load(reply)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(f"the answer from {self.url} is cut, or none of a Quarterdeck server: {error}") from error

    def _open(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
        query: Sequence[tuple[str, str | int]] = (),
    ) -> Any:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidInput(f"{self.url!r} is no address of a server; it begins with http:// or https://")
        headers = dict(more)
        if body is not None:
            headers["Content-Type"] = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        if self.lane:
            headers["X-Lane"] = self.lane
        try:
            address = self.url.rstrip("/") + path + ("?" + urllib.parse.urlencode(query) if query else "")
            data = body if body is None or isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
            request = urllib.request.Request(address, data, headers, method=method)  # noqa: S310 - checked above
            return urllib.request.build_opener(_StaysThere).open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as error:
            raise _raised(error) from error
        except (ValueError, http.client.InvalidURL):
            # Not told by itself, and not kept: the key stands in what Python says of it.
            raise InvalidInput("the address, the key or an argument holds what no request can carry") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unavailable(
                f"no server answers at {self.url}: {reason}; start one with `quarterdeck serve FOLDER`"
            ) from error


def _raised(error: urllib.error.HTTPError) -> Exception:
    with error:
        if "Location" in error.headers and 300 <= error.code < 400:
            return InvalidInput(
                f"the server sends on to {error.headers['Location']}: name that address, if it is a server's"
            )
        try:
            told = json.load(error)["error"]
            return error_of(str(told["code"]), f"{told['message']} (request {told['request_id']})")
        except (ValueError, KeyError, TypeError):
            return Unavailable(f"the server answered {error.code} {error.reason} without saying why")
