from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "quarterdeck"
# What opens connections, by the end of its name, and the words that limit its time.
LIMITED = {
    "session.request": {"timeout"},
    "ClientTimeout": {"total", "sock_connect"},
    "BlockingConnectionPool.from_url": {"timeout", "socket_connect_timeout", "socket_timeout"},
    "Redis.from_url": {"socket_connect_timeout", "socket_timeout"},
    "AsyncQdrantClient": {"timeout"},
    "S3Store": {"client_options", "retry_config"},
    "AsyncConnectionPool": {"kwargs", "timeout"},
    "urlopen": {"timeout"},
    "SMTP": {"timeout"},
    "SMTP_SSL": {"timeout"},
}
# These take their limits from where to, which `store.postgres` makes with a limit on connecting.
TOLD = {
    "psycopg.connect": {"store/postgres.py"},
    "AsyncConnection.connect": {"workflow/dispatch_procrastinate.py"},
}
# What opens connections without any: nobody calls it.
OPEN_ENDED = (
    "aiohttp.request socket.create_connection asyncio.open_connection anyio.connect_tcp http.client.HTTPConnection "
    "http.client.HTTPSConnection grpc.insecure_channel grpc.secure_channel aio.insecure_channel aio.secure_channel "
    "websockets.connect httpx.Client httpx.AsyncClient httpx.get httpx.post requests.get requests.post urlretrieve"
).split()


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Every call in the package: its file, itself, and the dotted name of what is called."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                yield path.relative_to(PACKAGE).as_posix(), node, ast.unparse(node.func)


def unlimited(call: ast.Call, name: str) -> bool:
    words = {keyword.arg for keyword in call.keywords}
    needed = next((needed for end, needed in LIMITED.items() if name == end or name.endswith(f".{end}")), set())
    if name.endswith("AsyncQdrantClient") and "path" in words:
        return False  # an index in a folder: nothing is connected to
    return not needed <= words


@pytest.mark.row("S11", part="time limits")
def test_no_connection_is_opened_without_time_limits(figure: Callable[[str], None]) -> None:
    found = list(calls())
    opening = [
        (file, call, name)
        for file, call, name in found
        if any(name == end or name.endswith(f".{end}") for end in (*LIMITED, *TOLD))
    ]

    bad = [f"{file}:{call.lineno} {name}" for file, call, name in opening if unlimited(call, name)]
    bad += [f"{file}:{call.lineno} {name}" for file, call, name in found if any(name.endswith(end) for end in OPEN_ENDED)]
    bad += [
        f"{file}:{call.lineno} {name}"
        for file, call, name in opening
        for end, files in TOLD.items()
        if name.endswith(end) and file not in files
    ]

    assert bad == []
    assert len(opening) >= 12
    figure(f"{len(opening)} places where connections are opened, all with time limits")


def test_whatever_connects_to_postgres_gives_up_connecting_in_time() -> None:
    from quarterdeck.store.postgres import _target

    target = _target("postgresql://somebody@db.example:5432/desk")

    assert 0 < target["connect_timeout"] <= 10
    assert target["tcp_user_timeout"] <= 15_000
