"""Who may be called: the address check, before a call and while a name is resolved."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import lru_cache

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from quarterdeck.core.errors import Forbidden, Misconfigured
from quarterdeck.net.addresses import is_public

__all__ = ["CheckedResolver", "Guard"]


class Guard:
    """Decides which URLs and addresses may be called: public ones, and the origins an administrator named."""

    def __init__(self, allowed_origins: Iterable[str]) -> None:
        self._allowed = frozenset(map(_origin, allowed_origins))
        self._allowed_endpoints = frozenset((host, port) for _, host, port in self._allowed)
        # A URL is judged by its text alone, and a model's is the same in every call.
        self.check = lru_cache(maxsize=256)(self._check)

    def _check(self, text: str) -> URL:
        """Return `text` as the URL to connect to.

        Raises:
            Forbidden: It is no http(s) URL, names a user, a closed port or an address that is not public.
        """
        try:
            url = URL(text)
            scheme, host, port = url.scheme, url.raw_host, url.port
        except ValueError as error:
            raise Forbidden("an address that is no URL was refused") from error
        if scheme not in ("http", "https") or not host or port is None:
            raise Forbidden(f"a {scheme or 'relative'} URL was refused: only http and https with a host are called")
        if url.raw_user is not None or url.raw_password is not None:
            raise Forbidden(f"a URL with user or password for {host} was refused: use a header")
        if (scheme, host, port) in self._allowed:
            return url
        if (host, port) in self._allowed_endpoints:
            raise Forbidden(f"{scheme}://{host}:{port} was refused: the origin is allowed with the other scheme only")
        if port < 1024 and port not in (80, 443):
            raise Forbidden(f"port {port} of {host} was refused: below 1024 only 80 and 443 are called")
        # Addresses written as such never reach the resolver. Digits and dots alone are an address to getaddrinfo.
        if (":" in host or host.replace(".", "").isdigit()) and not is_public(host):
            raise Forbidden(f"{host} was refused: {_NOT_PUBLIC}")
        return url

    def check_resolved(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Raises Forbidden unless every address that `host` resolved to is public, or its origin is allowed."""
        if (host, port) in self._allowed_endpoints:
            return
        for address in addresses:
            if not is_public(address):
                raise Forbidden(f"{host} was refused: it resolves to {address}, {_NOT_PUBLIC}")


_NOT_PUBLIC = "which is not a public address; an administrator can add its origin to the allowed ones"


def _origin(text: str) -> tuple[str, str, int]:
    try:
        url = URL(text)
        scheme, host, port = url.scheme, url.raw_host, url.port
    except ValueError as error:
        raise Misconfigured(f"allowed origin {text!r} is no URL: write scheme://host:port") from error
    if scheme not in ("http", "https") or not host or port is None:
        raise Misconfigured(f"allowed origin {text!r} needs a scheme (http or https) and a host: scheme://host:port")
    return scheme, host, port


class CheckedResolver(AbstractResolver):
    """Resolves names and lets only checked addresses through; the connector then connects to exactly those."""

    def __init__(self, inner: AbstractResolver, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host`. One that is closed refuses all: a mixed answer is an attack, not an accident."""
        results = await self._inner.resolve(host, port, family)
        self._guard.check_resolved(host, port, (result["host"] for result in results))
        return results

    async def close(self) -> None:
        await self._inner.close()
