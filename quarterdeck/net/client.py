"""The one client through which anything outside is called."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self

from quarterdeck.core.context import Context
from quarterdeck.core.errors import QuarterdeckError, TooLarge, Unavailable
from quarterdeck.core.propagation import carried

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

    from quarterdeck.net.guard import Guard

__all__ = ["GuardedClient", "Reply"]

MIB = 1 << 20
_HEADERS = {"User-Agent": "quarterdeck", "Accept-Encoding": "gzip, identity"}


class Reply:
    """An answer whose body is still to be read. Valid inside the ``async with`` that opened it.

    Attributes:
        headers: By name, in any case.
    """

    __slots__ = ("_idle_timeout_s", "_left", "_max_bytes", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, *, max_bytes: int, idle_timeout_s: float | None) -> None:
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._max_bytes = self._left = max_bytes
        self._idle_timeout_s = idle_timeout_s

    async def read(self) -> bytes:
        """The whole body, decompressed. Raises like `read_some`."""
        pieces = []
        while piece := await self.read_some():
            pieces.append(piece)
        return b"".join(pieces)

    async def read_some(self) -> bytes:
        """The next piece of the decompressed body, cut anywhere; empty at its end.

        Raises:
            TooLarge: The body is longer than the caller's bound; no more of it is read.
            Unavailable: The connection broke, or time is over.
        """
        content = self._response.content
        try:
            if self._idle_timeout_s is None:
                piece = await content.readany()
            else:
                # The limit on silence stands here and not in the session's read timeout, which would also count the
                # wait for the headers: a model may think long before it says its first word.
                async with asyncio.timeout(self._idle_timeout_s):
                    piece = await content.readany()
        except Exception as error:
            raise _translated(error, self._origin) from error
        self._left -= len(piece)
        if self._left < 0:
            raise TooLarge(f"the answer of {self._origin} is longer than the {self._max_bytes} bytes allowed")
        return piece

    @property
    def _origin(self) -> str:
        return str(self._response.url.origin())

    async def drain(self, within_s: float = 0.05) -> None:
        """Wait shortly for the end of a body of which all that matters was read: only then is the connection kept."""
        with suppress(TimeoutError, Unavailable, TooLarge):
            async with asyncio.timeout(within_s):
                while await self.read_some():
                    pass


class GuardedClient:
    """Calls the public internet, and the origins an administrator allowed; nothing else, whatever a name resolves to.

    One pool of connections per process, opened and closed as an async context manager. It follows no redirects, keeps no
    cookies, reads no proxy from the environment, and bounds time and size of every answer.
    """

    def __init__(
        self,
        *,
        allowed_origins: Iterable[str] = (),
        connections: int = 256,
        resolver: AbstractResolver | None = None,
        shared_tags: Collection[str] = (),
    ) -> None:
        """
        Args:
            allowed_origins: ``scheme://host:port`` that may be called although they are not public.
            connections: Open at once, to all hosts together; further calls wait within their timeout.
            resolver: Finds the addresses of names; None for the system's. What it finds is checked.
            shared_tags: Traffic tags that calls carry which are made in a context.
        """
        self._allowed_origins = tuple(allowed_origins)
        self._connections = connections
        self._resolver = resolver
        self._shared_tags = frozenset(shared_tags)
        self._session: aiohttp.ClientSession | None = None
        self._guard: Guard | None = None

    async def __aenter__(self) -> Self:
        # aiohttp takes 0.3 s of CPU to import: paid with the first client, not with `import quarterdeck`.
        import aiohttp

        from quarterdeck.net.guard import CheckedResolver, Guard

        self._guard = Guard(self._allowed_origins)
        connector = aiohttp.TCPConnector(
            limit=self._connections, resolver=CheckedResolver(self._resolver or aiohttp.ThreadedResolver(), self._guard)
        )
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=_HEADERS)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def open(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        connect_timeout_s: float = 10.0,
        idle_timeout_s: float | None = None,
        max_bytes: int = 16 * MIB,
        ctx: Context | None = None,
    ) -> AsyncIterator[Reply]:
        """Send a request; the connection is closed on leaving unless the body was read to its end.

        Args:
            timeout_s: For everything: waiting for a connection, the headers, the whole body.
            idle_timeout_s: Between two pieces of the body; None leaves it to `timeout_s`.
            max_bytes: Of the decompressed body.
            ctx: What the call is part of: it goes along as W3C trace context, with the tags that are shared.

        Raises:
            Forbidden: The URL, or an address its host resolves to, may not be called. Nothing was sent.
            Unavailable: No connection, no answer in time, or a broken one.
        """
        import aiohttp

        session, target = self._checked(url)
        if ctx is not None:
            headers = {**(headers or {}), **carried(ctx.trace_id, ctx.tags, only=self._shared_tags)}
        try:
            response = await session.request(
                method,
                target,
                headers=headers,
                # aiohttp warns of large bytes; a stream of the same bytes is sent in pieces.
                data=body if body is None or len(body) < MIB else io.BytesIO(body),
                allow_redirects=False,
                # Without the threshold aiohttp rounds times over 5 s up to whole seconds, past the caller's deadline.
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_timeout_s, ceil_threshold=86_400),
            )
        except Exception as error:
            raise _translated(error, str(target.origin())) from error
        try:
            yield Reply(response, max_bytes=max_bytes, idle_timeout_s=idle_timeout_s)
        finally:
            response.close()

    def _checked(self, url: str) -> tuple[aiohttp.ClientSession, URL]:
        if self._session is None or self._guard is None:
            raise RuntimeError("the client is used outside its `async with`")
        return self._session, self._guard.check(url)


def _translated(error: Exception, origin: str) -> Exception:
    """The error a caller handles; one that is no failure of the network comes back as it is."""
    import aiohttp

    if isinstance(error, QuarterdeckError):
        return error
    if isinstance(error, TimeoutError):
        return Unavailable(f"{origin} did not answer in time")
    if isinstance(error, aiohttp.ClientError | OSError):
        return Unavailable(f"{origin} cannot be reached or broke off: {type(error).__name__}")
    return error
