"""Keys of issuers: fetched when they are needed, not when somebody likes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from joserfc.jwk import RSAKey

from quarterdeck.core.errors import TooLarge, Unavailable
from quarterdeck.service.issuer_keys import FetchedKeys

ONE, TWO = (RSAKey.generate_key(2048, {"kid": kid}).as_dict(private=False) for kid in ("one", "two"))


@dataclass
class Answered:
    body: bytes
    status: int = 200

    async def read(self) -> bytes:
        return self.body


@dataclass
class Web:
    """Answers by address, and what was asked for."""

    pages: dict[str, Any]
    asked: list[str] = field(default_factory=list)
    now: float = 1000.0
    gate: anyio.Event | None = None  # answers wait for it

    @asynccontextmanager
    async def open(self, method: str, url: str, **_: Any) -> AsyncIterator[Answered]:
        self.asked.append(url)
        if url not in self.pages:
            raise Unavailable("no answer")
        if self.gate is not None:
            await self.gate.wait()
        page = self.pages[url]
        if isinstance(page, Exception):
            raise page
        yield Answered(page if isinstance(page, bytes) else json.dumps(page).encode())

    async def client(self) -> Any:
        return self

    def keys(self, url: str | None = "https://login.example/keys") -> FetchedKeys:
        return FetchedKeys(self.client, issuer="https://login.example", url=url, clock=lambda: self.now)


def web(*keys: Mapping[str, Any]) -> Web:
    return Web({"https://login.example/keys": {"keys": list(keys)}})


@pytest.mark.row("S9", part="keys of issuers")
async def test_unknown_name_has_the_keys_fetched_once_in_half_a_minute() -> None:
    login = web(ONE)
    keys = login.keys()
    await keys.find("one")
    login.pages["https://login.example/keys"] = {"keys": [ONE, TWO]}
    at_once = await keys.find("two")
    login.now += 31

    later = await keys.find("two")
    for number in range(50):
        await keys.find(f"made-up-{number}")

    assert at_once is None
    assert later is not None
    assert len(login.asked) == 2


async def test_withdrawn_key_is_gone_within_the_hour() -> None:
    login = web(ONE, TWO)
    keys = login.keys()
    before = await keys.find("two")
    login.pages["https://login.example/keys"] = {"keys": [ONE]}
    login.now += 3601

    after = await keys.find("two")

    assert before is not None
    assert after is None


async def test_issuer_that_is_away_is_not_asked_for_each_token() -> None:
    login = Web({})
    keys = login.keys()

    for _ in range(5):
        with pytest.raises(Unavailable):
            await keys.find("one")

    assert len(login.asked) == 1


async def test_address_of_the_keys_is_found_in_the_issuers_own_description() -> None:
    login = web(ONE)
    described = "https://login.example/.well-known/openid-configuration"
    login.pages[described] = {"issuer": "https://login.example", "jwks_uri": "https://login.example/keys"}

    assert await login.keys(None).find(None) is not None
    login.pages[described] = {"issuer": "https://evil.example", "jwks_uri": "https://login.example/keys"}
    with pytest.raises(Unavailable):
        await login.keys(None).find(None)


async def test_broken_key_does_not_keep_the_others_out() -> None:
    unknown = {"kty": "EC", "crv": "P-999", "kid": "of a curve nobody knows", "x": "AA", "y": "AA"}
    login = web({"kty": "RSA", "kid": "broken", "n": "?"}, unknown, {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}, ONE)

    keys = login.keys()

    assert await keys.find("one") is not None
    assert await keys.find("broken") is None
    assert await keys.find("secret") is None


@pytest.mark.row("S9", part="keys of issuers")
async def test_issuer_that_is_slow_holds_up_nobody_whose_key_is_known() -> None:
    login = web(ONE)
    keys = login.keys()
    await keys.find("one")
    login.now += 31
    login.gate = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keys.find, "unknown")
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(5):
            known = await keys.find("one")
        login.gate.set()

    assert known is not None
    assert len(login.asked) == 2


@pytest.mark.parametrize(
    "page",
    [
        {"keys": []},
        {"keys": "none"},
        {"keys": [None, 7, "key", {"kty": "RSA"}, {"kty": "oct", "kid": "one", "k": "c2VjcmV0"}]},
        {"keys": [{**ONE, "use": "enc"}]},
        [],
        {"error": "maintenance"},
        {"keys": [{"kty": "EC", "crv": "P-999", "kid": "one", "x": "AA", "y": "AA"}]},
        b"[" * 200_000,
        b'{"keys":' + b'[{"a":' * 20_000,
        b"\xff",
        TooLarge("the answer is longer than the 262144 bytes allowed"),
    ],
)
@pytest.mark.row("S9", part="keys of issuers")
async def test_answer_without_a_key_takes_away_none_that_is_known_and_gives_none(page: Any) -> None:
    login = web(ONE)
    keys = login.keys()
    before = await keys.find("one")
    login.pages["https://login.example/keys"] = page
    login.now += 3601

    after = await keys.find("one")

    assert before is after
    assert before is not None
    assert await keys.find("two") is None
    login.now += 60
    with pytest.raises(Unavailable):
        await keys.find("one")
