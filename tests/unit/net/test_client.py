"""The guarded client against servers and names that want it to go elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from quarterdeck.core.context import Context, Principal
from quarterdeck.core.errors import Forbidden, Misconfigured, TooLarge, Unavailable
from quarterdeck.net import GuardedClient
from tests.provider import Provider, responds, stalls, streams


class Names(AbstractResolver):
    """Resolves every name to the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as provider:
        yield provider


@pytest.fixture
async def client(provider: Provider) -> AsyncIterator[GuardedClient]:
    async with GuardedClient(allowed_origins=[provider.origin]) as client:
        yield client


async def get(client: GuardedClient, url: str, timeout_s: float = 2.0, max_bytes: int = 1 << 20) -> bytes:
    async with client.open("GET", url, timeout_s=timeout_s, max_bytes=max_bytes) as reply:
        return await reply.read()


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://127.1/", "http://0x7f.1/", "http://2130706433/", "http://017700000001/", "http://0/"),
        *("http://[::]/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[fec0::1]/"),
        *(
            "http://[2002:7f00:1::]/",
            "http://[fe80::1%25lo]/",
            "http://169.254.169.254/latest/meta-data",
            "http://10.0.0.1/",
        ),
        *("http://localhost/", "http://127.0.0.1./", "http://①②⑦.⓪.⓪.①/", "http://１２７.0.0.1/"),
        *("http://user@8.8.8.8/", "http://8.8.8.8:pw@8.8.4.4/", "http://8.8.8.8:22/", "http://8.8.8.8:25/"),
        *(
            "file:///etc/passwd",
            "gopher://8.8.8.8/",
            "ftp://8.8.8.8/",
            "//8.8.8.8/",
            "/relative",
            "",
            "http:///",
            "http://[x/",
        ),
        *("http://100.64.1.1/", "http://metadata.google.internal@127.0.0.1/", "http://8.8.8.8:99999/"),
    ],
)
async def test_what_is_not_the_public_internet_is_not_called(url: str) -> None:
    async with GuardedClient(resolver=None) as client:
        with pytest.raises(Forbidden):
            await get(client, url)


@pytest.mark.parametrize(
    "addresses", [("127.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("64:ff9b::a9fe:a9fe",), ("2606:4700::1111", "::1")]
)
async def test_a_name_is_refused_if_any_of_its_addresses_is_closed(addresses: tuple[str, ...]) -> None:
    names = Names(*addresses)
    async with GuardedClient(resolver=names) as client:
        with pytest.raises(Forbidden, match=r"rebind\.example was refused: it resolves to"):
            await get(client, "http://rebind.example/")

    assert names.asked == ["rebind.example"]


async def test_a_name_resolved_to_an_allowed_server_is_still_refused(provider: Provider) -> None:
    names = Names("127.0.0.1")
    async with GuardedClient(allowed_origins=[provider.origin], resolver=names) as client:
        with pytest.raises(Forbidden):
            await get(client, provider.origin.replace("127.0.0.1", "rebind.example"))

    assert provider.requests == []


async def test_an_origin_an_administrator_named_is_called(provider: Provider) -> None:
    provider.script.append(responds(200, "here"))
    origin = provider.origin.replace("127.0.0.1", "ollama.internal")

    async with GuardedClient(allowed_origins=[origin + "/"], resolver=Names("127.0.0.1")) as client:
        assert await get(client, origin + "/v1/models") == b"here"


async def test_an_allowed_origin_opens_no_other_port_and_no_other_scheme(provider: Provider, client: GuardedClient) -> None:
    for url in (provider.origin.replace("http:", "https:"), "http://127.0.0.1:1/", "http://127.0.0.1/"):
        with pytest.raises(Forbidden):
            await get(client, url)


@pytest.mark.parametrize("origin", ["127.0.0.1:80", "ollama", "", "unix:///run/x", "http://", "http://[x"])
async def test_an_origin_without_scheme_and_host_is_a_configuration_error(origin: str) -> None:
    with pytest.raises(Misconfigured):
        async with GuardedClient(allowed_origins=[origin]):
            pass


async def test_redirects_are_handed_to_the_caller(provider: Provider, client: GuardedClient) -> None:
    provider.script.append(responds(302, headers={"Location": "http://169.254.169.254/"}))

    async with client.open("GET", provider.origin, timeout_s=2.0) as reply:
        assert (reply.status, reply.headers["location"]) == (302, "http://169.254.169.254/")

    assert len(provider.requests) == 1


async def test_cookies_are_not_kept(provider: Provider, client: GuardedClient) -> None:
    provider.script.append(responds(200, headers={"Set-Cookie": "sid=1; Path=/"}))

    await get(client, provider.origin)
    await get(client, provider.origin)

    assert "Cookie" not in provider.headers[1]


async def test_a_proxy_of_the_environment_is_not_used(
    provider: Provider, client: GuardedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    provider.script.append(responds(200, "direct"))

    assert await get(client, provider.origin) == b"direct"


async def test_a_long_body_is_given_up_at_the_bound(provider: Provider, client: GuardedClient) -> None:
    provider.otherwise = streams(*[b"x" * 65_536] * 100)

    with pytest.raises(TooLarge, match="longer than the 100000 bytes"):
        await get(client, provider.origin, max_bytes=100_000)


async def test_a_small_body_that_inflates_takes_no_memory(provider: Provider, client: GuardedClient) -> None:
    bomb = gzip.compress(bytes(100 << 20))
    provider.script.append(responds(200, bomb, headers={"Content-Encoding": "gzip"}))

    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            await get(client, provider.origin)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 8 << 20


async def test_a_silent_server_is_unavailable_in_time(provider: Provider, client: GuardedClient) -> None:
    provider.script.append(stalls(5.0))

    with pytest.raises(Unavailable, match="did not answer in time"):
        await get(client, provider.origin, timeout_s=0.1)


async def test_a_dripping_server_is_unavailable_in_time(provider: Provider, client: GuardedClient) -> None:
    provider.script.append(streams(b"a", stall_s=5.0))

    with pytest.raises(Unavailable, match="did not answer in time"):
        await get(client, provider.origin, timeout_s=0.2)


async def test_a_broken_body_is_unavailable(provider: Provider, client: GuardedClient) -> None:
    provider.script.append(streams(b"abc", cut=True))

    with pytest.raises(Unavailable, match="broke off"):
        await get(client, provider.origin)


async def test_errors_name_the_origin_and_nothing_behind_it(free_port: int) -> None:
    origin = f"http://127.0.0.1:{free_port}"
    async with GuardedClient(allowed_origins=[origin]) as client:
        with pytest.raises(Unavailable) as caught:
            await get(client, f"{origin}/path?key=hunter2")

    assert origin in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_connections_are_kept_when_the_body_was_read(provider: Provider, client: GuardedClient) -> None:
    peers = set()

    async def note(request):  # type: ignore[no-untyped-def]
        peers.add(request.transport.get_extra_info("peername"))
        return await responds(200, "x")(request)

    provider.otherwise = note

    for _ in range(3):
        await get(client, provider.origin)

    assert len(peers) == 1


async def test_the_number_of_connections_is_bounded(provider: Provider) -> None:
    open_now = most = 0

    async def count(request):  # type: ignore[no-untyped-def]
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.02)
        open_now -= 1
        return await responds(200, "x")(request)

    provider.otherwise = count
    async with GuardedClient(allowed_origins=[provider.origin], connections=3) as client:
        await asyncio.gather(*(get(client, provider.origin) for _ in range(12)))

    assert most == 3


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="outside"):
        await get(GuardedClient(), "http://8.8.8.8/")


def test_aiohttp_is_not_loaded_by_the_import() -> None:
    import subprocess
    import sys

    code = "import sys, quarterdeck.net, quarterdeck.models.openai; sys.exit('aiohttp' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_call_made_in_a_context_is_part_of_its_trace_and_carries_the_tags_that_are_shared(
    provider: Provider,
) -> None:
    ctx = Context(
        principal=Principal(user="anna", tenant="acme"),
        run_id="r1",
        deadline=time.monotonic() + 5,
        trace_id="a" * 32,
        tags={"experiment": "b", "tier": "gold"},
    )
    async with (
        GuardedClient(allowed_origins=[provider.origin], shared_tags={"tier"}) as client,
        client.open("POST", f"{provider.origin}/v1/chat/completions", timeout_s=2.0, body=b"{}", ctx=ctx) as reply,
    ):
        await reply.read()

    (headers,) = provider.headers
    assert headers["traceparent"].startswith(f"00-{'a' * 32}-")
    assert headers["baggage"] == "tier=gold"
