from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from quarterdeck.core.errors import InvalidInput
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.ingest import Book, Ingester, IngestReport
from quarterdeck.knowledge.ingest_source import Origin
from quarterdeck.knowledge.ingest_web import WebSource, addresses
from quarterdeck.net.client import GuardedClient

READERS = frozenset({"user:ann", "it"})
PAGE = b"<!doctype html><html><head><title>Leave</title></head><body><h1>Leave</h1><p>Omega days a year.</p></body></html>"


@asynccontextmanager
async def serving(answers: dict[str, Callable[[web.Request], web.StreamResponse]]) -> AsyncIterator[str]:
    """A web server on this machine; gives its origin."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return answers[request.path](request)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqliteIndex]:
    opened = await SqliteIndex.open(tmp_path / "index.db")
    yield opened
    await opened.close()


async def fetched(index: SqliteIndex, allowed: list[str], *urls: str, timeout_s: float = 10.0) -> IngestReport:
    origin = Origin(
        collection="web:ann", groups=frozenset({"it"}), may_name=frozenset({"it"}), reads=READERS, gives=frozenset({"it"})
    )
    book = Book()
    async with GuardedClient(allowed_origins=allowed) as client:

        async def opened() -> GuardedClient:
            return client

        await Ingester(index, "acme").bring(WebSource(urls, origin, opened, timeout_s=timeout_s), book)
    return book.report


def said(body: bytes, content_type: str = "text/html", status: int = 200) -> Callable[[web.Request], web.StreamResponse]:
    return lambda request: web.Response(body=body, status=status, headers={"Content-Type": content_type})


def moved(place: str) -> Callable[[web.Request], web.StreamResponse]:
    return lambda request: web.Response(status=302, headers={"Location": place})


@pytest.mark.row("K8", part="addresses")
async def test_what_stands_at_addresses_becomes_documents_by_its_content(index: SqliteIndex) -> None:
    answers = {
        "/leave": said(PAGE, "application/octet-stream"),
        "/notes": said(b"# Notes\n\nalpha\n", "text/markdown; charset=utf-8"),
        "/plain.php": said(b"beta gamma", "text/plain"),
        "/moved": moved("/leave"),
    }
    async with serving(answers) as origin:
        urls = [f"{origin}{path}" for path in answers]

        report = await fetched(index, [origin], *urls)
        again = await fetched(index, [origin], *urls)

    assert (report.added, report.refused) == (4, ())
    assert again.unchanged == 4
    listed = await index.documents("acme", READERS)
    titles = sorted((document.title, document.trusted) for document in listed)
    assert titles == [("Leave", False), ("Leave", False), ("Notes", False), ("plain", False)]
    assert {document.uri for document in listed} == set(urls)


@pytest.mark.row("K8", part="addresses")
async def test_addresses_that_are_not_public_are_refused_also_behind_a_redirect(index: SqliteIndex) -> None:
    async with serving({"/secret": said(PAGE)}) as private, serving({"/away": moved(f"{private}/secret")}) as origin:
        report = await fetched(
            index,
            [origin],
            f"{private}/secret",
            f"{origin}/away",
            "http://169.254.169.254/latest/meta-data/",
            "http://[::ffff:10.0.0.1]/",
            "http://user:word@example.com/",
        )

    assert report.added == 0
    assert len(report.refused) == 5
    assert await index.documents("acme", READERS) == []


async def test_what_is_too_large_in_a_circle_or_no_document_is_refused_and_the_rest_is_read(
    index: SqliteIndex,
) -> None:
    answers = {
        "/large": said(b"x" * 33_000_000, "text/plain"),
        "/circle": moved("/circle"),
        "/gone": said(b"gone", status=410),
        "/picture": said(b"\x89PNG\r\n", "text/html"),
        "/file": moved("file:///etc/passwd"),
        "/good": said(b"alpha", "text/plain"),
    }
    async with serving(answers) as origin:
        report = await fetched(index, [origin], *(f"{origin}{path}" for path in answers))

    reasons = {name.removeprefix(origin): reason for name, reason in report.refused}
    assert reasons.keys() == answers.keys() - {"/good"}
    assert "410" in reasons["/gone"]
    assert "redirected" in reasons["/circle"]
    assert report.added == 1


@pytest.mark.row("K7", part="ingest")
async def test_a_page_may_name_fewer_readers_of_itself_and_no_others(index: SqliteIndex) -> None:
    answers = {
        "/wider": said(b"---\ngroups: [everyone]\n---\nalpha\n", "text/markdown"),
        "/trusting": said(b"---\ntrusted: true\n---\nalpha\n", "text/markdown"),
        "/same": said(b"---\ngroups: [it]\n---\nalpha\n", "text/markdown"),
    }
    async with serving(answers) as origin:
        report = await fetched(index, [origin], *(f"{origin}{path}" for path in answers))

    assert {name.removeprefix(origin) for name, _ in report.refused} == {"/wider", "/trusting"}
    assert [document.groups for document in await index.documents("acme", READERS)] == [frozenset({"it"})]


def test_a_list_of_addresses_has_comments_and_names_the_line_that_is_none() -> None:
    assert addresses("# ours\n\nhttps://example.com/a\n  http://example.com/b \n") == [
        "https://example.com/a",
        "http://example.com/b",
    ]
    for bad in ("ftp://example.com/", "example.com", "https:///x", "https://a b/"):
        with pytest.raises(InvalidInput, match="line 2"):
            addresses(f"https://example.com/\n{bad}\n")
