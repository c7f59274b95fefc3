"""Pages of the web as a source of documents. What they say of themselves opens them to nobody else."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from pathlib import PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit

from quarterdeck.core.errors import InvalidInput, Unavailable
from quarterdeck.knowledge.ingest_source import Given, Item, Listing, Origin
from quarterdeck.knowledge.parsers.kinds import KINDS
from quarterdeck.net.client import GuardedClient

__all__ = ["OpenClient", "WebSource", "addresses", "check_addresses"]

MAX_ADDRESS = 2_000  # characters
_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
_ACCEPTED = "text/html, text/markdown, text/plain, text/csv, application/json, application/pdf;q=0.9, */*;q=0.1"
# Kinds of plain text are told apart by their name; what the server says of them stands in for one that is missing.
_BY_TYPE = {"text/markdown": ".md", "text/csv": ".csv", "text/tab-separated-values": ".tsv", "application/json": ".json"}
_KNOWN = frozenset(suffix for kind in KINDS for suffix in kind.suffixes)

OpenClient = Callable[[], Awaitable[GuardedClient]]
"""Gives the client, opened: it is not needed until something is fetched."""


class WebSource:
    """A list of addresses, each of which is one document; it keeps its id as long as it is brought in by that address."""

    def __init__(self, urls: Sequence[str], origin: Origin, client: OpenClient, *, timeout_s: float = 30.0) -> None:
        """
        Args:
            client: Gives one that refuses addresses that are not public, but for those an administrator allowed.
            timeout_s: For one document, redirects included.
        """
        self.origin = origin
        self._urls = tuple(dict.fromkeys(urls))
        self._client = client
        self._timeout_s = timeout_s

    async def listing(self) -> Listing:
        return Listing(items=[Item(path=url, read=partial(self._read, url)) for url in self._urls])

    async def _read(self, url: str, most: int) -> Given:
        deadline = time.monotonic() + self._timeout_s
        target = url
        client = await self._client()
        for _ in range(_REDIRECTS + 1):
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(f"it did not come within {self._timeout_s:g} s")
            async with client.open("GET", target, timeout_s=left, headers={"Accept": _ACCEPTED}, max_bytes=most) as reply:
                if reply.status in _MOVED and (place := reply.headers.get("Location")):
                    target = urljoin(target, place)  # looked at like the first one: a redirect opens nothing that is closed
                    continue
                if reply.status != 200:
                    raise InvalidInput(f"the server answered {reply.status}")
                data = await reply.read()
                name = _name(target, reply.headers.get("Content-Type", ""))
                return Given(name=name, data=data, uri=url)
        raise InvalidInput(f"it was redirected more than {_REDIRECTS} times")


def addresses(text: str) -> list[str]:
    """The addresses of a list: one a line; blank lines and those that begin with # are passed over.

    Raises InvalidInput for a line that is no http(s) address.
    """
    found: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        url = line.strip()
        if not url or url.startswith("#"):
            continue
        if not is_address(url):
            raise InvalidInput(f"line {number}: {url[:60]!r} is no http(s) address")
        found.append(url)
    return found


def is_address(url: str) -> bool:
    """True for an http(s) URL with a host and nothing in it that a URL cannot have."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    written = url.isprintable() and " " not in url and len(url) <= MAX_ADDRESS
    return written and parts.scheme in ("http", "https") and bool(parts.hostname)


def check_addresses(urls: Collection[str]) -> None:
    """Raises InvalidInput for what is no http(s) address."""
    for url in urls:
        if not is_address(url):
            raise InvalidInput(f"{url[:60]!r} is no http(s) address")


def _name(url: str, content_type: str) -> str:
    """A file name for what came from an address. Its content says what it is; this tells kinds of plain text apart."""
    path = PurePosixPath(unquote(urlsplit(url).path))
    stem = path.stem or urlsplit(url).hostname or "page"
    if path.suffix.lower() in _KNOWN:
        return stem + path.suffix
    return stem.replace(".", "-") + _BY_TYPE.get(content_type.partition(";")[0].strip().lower(), "")
