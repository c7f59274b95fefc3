"""``quarterdeck ingest``: documents into the index of a folder, or of a running server."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli.client import Client, Key
from quarterdeck.cli.folder import Data, loaded
from quarterdeck.cli.show import AsJson, as_json, console, plain
from quarterdeck.core.errors import InvalidInput
from quarterdeck.settings import Configuration

if TYPE_CHECKING:
    from quarterdeck.knowledge.ingest import IngestReport

__all__ = ["REFUSED", "ingest"]

REFUSED = 8
"""Exit code when some documents were refused and all others are in."""

_AT_ONCE = 8  # documents that are sent before the first of them is waited for
_ADDRESSES = 1_000  # of one request
_COUNTS = ("added", "updated", "unchanged", "removed")


def ingest(
    target: Annotated[
        str, typer.Argument(help="A configuration folder; or a folder of documents, a list of addresses, a collection.")
    ],
    folder: Annotated[Path | None, typer.Option(help="Configuration folder into whose index TARGET is brought.")] = None,
    server: Annotated[str | None, typer.Option(help="Address of a running server that TARGET is sent to.")] = None,
    key: Key = None,
    group: Annotated[list[str] | None, typer.Option(help="Who may read it; may be repeated.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose documents they are, with --folder.")] = "",
    trusted: Annotated[bool, typer.Option("--trusted", help="With --folder: no outsider can write into TARGET.")] = False,
    from_index: Annotated[
        str | None, typer.Option(help="URL of another index, whose documents are cut and embedded anew into TARGET's.")
    ] = None,
    data: Data = None,
    json: AsJson = False,
) -> None:
    """Bring documents into an index; only what changed is read. Exit code 8: some were refused."""
    with _progress(quiet=json) as told:
        if from_index is not None:
            reports = _copied(loaded(Path(target), data=data), from_index, told)
        elif server is not None:
            reports = [_Sending(Client(url=server, key=key), group, told).send(target)]
        elif folder is not None:
            given = _Given(target=target, tenant=tenant, groups=tuple(group or ()), trusted=trusted)
            reports = [_brought(loaded(folder, data=data), given, told)]
        else:
            reports = _collections(loaded(Path(target), data=data), told)
    _show(reports, json)
    if any(report.refused for report in reports):
        raise typer.Exit(REFUSED)


@dataclass(slots=True)
class _Report:
    """What became of one source, as it is shown."""

    source: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    refused: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, source: str, report: IngestReport) -> _Report:
        counts = {name: getattr(report, name) for name in _COUNTS}
        return cls(source, counts, list(report.refused), list(report.warnings))

    def take(self, event: dict[str, Any]) -> None:
        """A document's event of a run."""
        item, outcome = event["item"], event["outcome"]
        if outcome == "refused":
            self.refused.append((item, event.get("reason", "")))
        else:
            self.counts[outcome] += 1
        self.warnings += ((item, text) for text in event.get("warnings", ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What was named on the command line."""

    target: str
    tenant: str
    groups: tuple[str, ...]
    trusted: bool


class _Sending:
    """Documents to a running server, which brings them in by runs."""

    def __init__(self, client: Client, groups: Sequence[str] | None, told: Any) -> None:
        self._client = client
        self._groups = groups
        self._told = told

    def send(self, target: str) -> _Report:
        """A folder's files one by one; a list of addresses, or else a collection of the server, at once."""
        path = Path(target)
        if path.is_dir():
            return self._files(path)
        if not path.is_file():
            return self._run(_Report(target), {"collection": target})
        from quarterdeck.knowledge.ingest_web import addresses

        report = _Report(target)
        urls = addresses(path.read_text(encoding="utf-8"))
        for start in range(0, len(urls), _ADDRESSES):
            self._run(report, {"urls": urls[start : start + _ADDRESSES], "groups": self._groups})
        return report

    def _files(self, path: Path) -> _Report:
        import anyio

        from quarterdeck.knowledge.ingest_folder import FolderSource
        from quarterdeck.knowledge.parsers.kinds import KINDS

        listing = anyio.run(FolderSource(path).listing)
        report = _Report(str(path), refused=list(listing.refused))
        most = max(kind.max_bytes for kind in KINDS)
        waiting: deque[tuple[str, str]] = deque()
        groups = [("groups", group) for group in self._groups or ()]
        for number, item in enumerate(listing.items):
            self._told(number, len(listing.items), item.path)
            try:
                given = anyio.run(item.read, most)
                begun = self._client.upload("/api/v1/documents", given.data, [("name", item.path), *groups])
            except (InvalidInput, OSError) as error:
                report.refused.append((item.path, str(error)))
                continue
            waiting.append((begun["run_id"], item.path))
            if len(waiting) == _AT_ONCE:
                self._wait(report, *waiting.popleft())
        while waiting:
            self._wait(report, *waiting.popleft())
        return report

    def _run(self, report: _Report, order: dict[str, Any]) -> _Report:
        begun = self._client.post("/api/v1/documents/import", order)
        self._wait(report, begun["run_id"], report.source, counted=True)
        return report

    def _wait(self, report: _Report, run_id: str, item: str, *, counted: bool = False) -> None:
        """Take down what a run tells, until it ends."""
        done = 0
        for kind, event in self._client.follow(run_id):
            if kind == "document_ingested":
                report.take(event)
                done += 1
                if counted:
                    self._told(done, event.get("total", 0), event["item"])
            elif kind == "run_failed":
                report.refused.append((item, f"{event['error']} (run {run_id})"))
            elif kind == "run_cancelled":
                report.refused.append((item, f"cancelled by {event['by']} (run {run_id})"))


def _collections(configuration: Configuration, told: Any) -> list[_Report]:
    """Every collection of a configuration."""
    import anyio

    async def bring() -> Any:
        from quarterdeck.app.folder import ingest as bring_in
        from quarterdeck.app.knowledge import opened_knowledge
        from quarterdeck.app.models import shelf

        async with shelf(configuration) as models, opened_knowledge(configuration, models) as knowledge:
            return await bring_in(configuration, knowledge, told)

    return [_Report.of(str(path), report) for path, report in anyio.run(bring).items()]


def _brought(configuration: Configuration, given: _Given, told: Any) -> _Report:
    """A folder of documents or a list of addresses, into the index of a configuration."""
    import anyio

    async def bring() -> IngestReport:
        from quarterdeck.app.documents import WebClient, named_source
        from quarterdeck.app.knowledge import opened_knowledge
        from quarterdeck.app.models import shelf
        from quarterdeck.app.stores import in_turn
        from quarterdeck.knowledge.ingest import Book

        book = Book(told)
        async with (
            shelf(configuration) as models,
            opened_knowledge(configuration, models) as knowledge,
            WebClient() as web,
            in_turn(configuration),
        ):
            owner, source = named_source(
                configuration, given.target, tenant=given.tenant, groups=given.groups, trusted=given.trusted, web=web
            )
            await knowledge.ingester(owner).bring(source, book)
        return book.report

    return _Report.of(given.target, anyio.run(bring))


def _copied(configuration: Configuration, url: str, told: Any) -> list[_Report]:
    """The documents of another index, tenant by tenant."""
    import anyio

    async def copy() -> Mapping[str, IngestReport]:
        from quarterdeck.app.documents import copied
        from quarterdeck.app.knowledge import opened_knowledge
        from quarterdeck.app.models import shelf

        async with shelf(configuration) as models, opened_knowledge(configuration, models) as knowledge:
            return await copied(configuration, knowledge, url, told)

    return [_Report.of(f"tenant {tenant}", report) for tenant, report in anyio.run(copy).items()]


def _show(reports: Sequence[_Report], json: bool) -> None:
    listed = [
        {
            "folder": report.source,
            **report.counts,
            "refused": [{"file": name, "reason": reason} for name, reason in report.refused],
            "warnings": [{"file": name, "warning": text} for name, text in report.warnings],
        }
        for report in reports
    ]
    if json:
        as_json(listed)
        return
    out = console()
    for report in reports:
        counts = ", ".join(f"{report.counts[name]} {name}" for name in _COUNTS)
        out.print(f"{plain(report.source)}: {counts}", markup=False)
        for name, reason in report.refused:
            out.print(f"  refused {plain(name)}: {plain(reason)}", style="red", markup=False)
        for name, text in report.warnings:
            out.print(f"  {plain(name)}: {plain(text)}", style="yellow", markup=False)


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Any]:
    if quiet:
        yield lambda done, total, name: None
        return
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("reading documents", total=None)
        yield lambda done, total, name: bar.update(task, completed=done, total=total, description=escape(plain(name)[:40]))
