"""Keys that tokens are signed with: fetched from who issues them, kept, fetched again when they are changed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import anyio
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

from quarterdeck.core.errors import Forbidden, TooLarge, Unavailable
from quarterdeck.net import GuardedClient

__all__ = ["FetchedKeys", "IssuerKeys", "SharedSecret"]

_MAX_BYTES = 262_144
_MAX_KEYS = 64
_FRESH_S = 3600.0  # a key that was withdrawn counts no longer than this
_AGAIN_S = 30.0  # between two attempts, whatever unknown keys tokens name
_TIMEOUT_S = 5.0
_KINDS: Mapping[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}

log = logging.getLogger(__name__)


class IssuerKeys(Protocol):
    """The keys of one issuer."""

    async def find(self, kid: str | None) -> Key | None:
        """The key of that name; without a name the only one there is. Raises Unavailable if they cannot be had now."""
        ...


class SharedSecret:
    """One secret that both sides know; tokens need not name it."""

    def __init__(self, secret: bytes) -> None:
        self._key = OctKey.import_key(secret)

    async def find(self, kid: str | None) -> Key | None:
        return self._key


class FetchedKeys:
    """Keys from an address, by the name a token gives: a name is looked up among them and goes nowhere else.

    An unknown name has them fetched again, at most every half minute, so that nobody can make the server call out at will.
    """

    def __init__(
        self,
        client: Callable[[], Awaitable[GuardedClient]],
        *,
        issuer: str,
        url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            client: Gives the client, which may call the issuer.
            url: Of the keys; None to ask the issuer's description of itself.
        """
        self._client = client
        self._issuer = issuer
        self._url = url
        self._clock = clock
        self._keys: Mapping[str, Key] = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._turn = anyio.Lock()

    async def find(self, kid: str | None) -> Key | None:
        if self._due(kid):
            async with self._turn:
                if self._due(kid):  # perhaps somebody fetched them meanwhile
                    await self._fetch()
        if self._fetched is None or self._clock() - self._fetched > _FRESH_S + _AGAIN_S:
            raise Unavailable("who issues these tokens cannot be asked for its keys; try again")
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _due(self, kid: str | None) -> bool:
        now = self._clock()
        if self._tried is not None and now - self._tried < _AGAIN_S:
            return False
        return self._fetched is None or now - self._fetched > _FRESH_S or (kid is not None and kid not in self._keys)

    async def _fetch(self) -> None:
        self._tried = self._clock()
        try:
            url = self._url or await self._described()
            found = (await self._json(url)).get("keys")
            keys = dict(_named(found if isinstance(found, list) else []))
            if not keys:
                raise ValueError("it named no key that can be used")  # a mistake of a moment must not keep everybody out
            self._keys = keys
            self._fetched = self._clock()
        except (Unavailable, Forbidden, TooLarge, ValueError, RecursionError, JoseError) as error:
            log.warning("keys of an issuer cannot be fetched", extra={"issuer": self._issuer, "error": str(error)})

    async def _described(self) -> str:
        told = await self._json(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if told.get("issuer") != self._issuer or not isinstance(told.get("jwks_uri"), str):
            raise ValueError("its description is of another issuer, or names no keys")
        return str(told["jwks_uri"])

    async def _json(self, url: str) -> Mapping[str, Any]:
        client = await self._client()
        async with client.open("GET", url, timeout_s=_TIMEOUT_S, connect_timeout_s=2.0, max_bytes=_MAX_BYTES) as reply:
            body = await reply.read()
            if reply.status != 200:
                raise ValueError(f"it answered with status {reply.status}")
        found = json.loads(body)
        if not isinstance(found, dict):
            raise ValueError("it answered with something else than an object")
        return found


def _named(found: list[Any]) -> list[tuple[str, Key]]:
    """Keys for signatures, by name; what is not one is passed over."""
    keys: list[tuple[str, Key]] = []
    for each in found[:_MAX_KEYS]:
        kind = _KINDS.get(str(each.get("kty"))) if isinstance(each, dict) else None
        if kind is not None and each.get("use", "sig") == "sig":
            try:
                keys.append((str(each.get("kid", "")), kind.import_key(each)))
            except (JoseError, ValueError, TypeError, KeyError):  # one broken key must not keep out who has another
                log.warning("a key of an issuer cannot be read", extra={"kid": str(each.get("kid", ""))[:64]})
    return keys
