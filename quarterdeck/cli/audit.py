"""``quarterdeck audit``: check, show and export the audit log, with or without a server."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli.folder import Data, loaded
from quarterdeck.cli.show import AsJson, as_json, console, plain, table
from quarterdeck.core.errors import InvalidInput
from quarterdeck.settings import Configuration

if TYPE_CHECKING:
    from quarterdeck.service.auditing import Verdict
    from quarterdeck.store.base import Records
    from quarterdeck.store.checkpoints import Checkpoint

__all__ = ["app"]

app = typer.Typer(help="The audit log: check, show and export it, with or without a server.", no_args_is_help=True)

Where = Annotated[
    str,
    typer.Argument(help="A configuration folder, a data folder, or the postgresql:// URL of a database."),
]
Tenant = Annotated[str | None, typer.Option(help="Whose log; needed where there are several.")]


@app.command()
def verify(
    where: Where,
    data: Data = None,
    tenant: Annotated[str | None, typer.Option(help="Whose log alone; without, everybody's.")] = None,
    checkpoints: Annotated[
        list[Path] | None, typer.Option(help="Files of checkpoints, in place of what audit.checkpoints_url names.")
    ] = None,
    key: Annotated[
        list[Path] | None, typer.Option(help="Public keys that may have signed them, in place of the folder's own.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Check that no row was changed, dropped, moved, added or cut off; names the first bad one. Fails if there is one."""
    import anyio

    verdicts = anyio.run(_verify, where, data, tenant, checkpoints or [], key or [])
    if json:
        as_json([asdict(verdict) for verdict in verdicts])
    else:
        for verdict in verdicts:
            compared = f", {verdict.checkpoints} checkpoints" if verdict.checkpoints else ""
            good = f"{verdict.rows} rows hold{compared}"
            ends = (
                good if verdict.bad is None else f"row {verdict.bad} is changed, missing or out of order ({good} before it)"
            )
            console().print(f"{verdict.tenant}: {ends}", markup=False, style=None if verdict.bad is None else "red")
    if any(verdict.bad is not None for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def show(
    where: Where,
    tenant: Tenant = None,
    data: Data = None,
    after: Annotated[int, typer.Option(min=0, help="Seq behind which rows are shown.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    json: AsJson = False,
) -> None:
    """Show rows, oldest first."""
    import anyio

    rows = anyio.run(_rows, where, data, tenant, after, limit)
    if json:
        as_json(rows)
        return
    columns = {
        "seq": "row",
        "at": "at",
        "actor": "who",
        "subject": "for",
        "action": "did",
        "object": "what",
        "decision": "outcome",
    }
    table([row | {"at": row["at"][:19].replace("T", " ")} for row in rows], columns, "There are no rows.")


@app.command()
def export(
    where: Where,
    tenant: Tenant = None,
    data: Data = None,
    output: Annotated[Path | None, typer.Option(help="File; standard output without.")] = None,
) -> None:
    """Write all rows as JSON lines. That they were handed out is a row of the log, and the last one written."""
    import anyio

    if output is None:
        anyio.run(_export, where, data, tenant, sys.stdout)
        return
    with output.open("w", encoding="utf-8") as file:
        anyio.run(_export, where, data, tenant, file)
    console().print(f"{plain(output)} is written", markup=False)


def _place(where: str, data: Path | None) -> tuple[str, Path, Configuration | None]:
    """URL of the database, what it is relative to, and the configuration if there is one."""
    from quarterdeck.app.stores import database
    from quarterdeck.store.sqlite_store import DATABASE_NAME

    if "://" in where:
        return where, Path.cwd(), None
    folder = Path(where)
    if (folder / DATABASE_NAME).is_file():
        return f"sqlite:///{folder.resolve()}", Path("/"), None
    configuration = loaded(folder, data=data)
    return database(configuration), configuration.folder, configuration


async def _verify(where: str, data: Path | None, tenant: str | None, files: list[Path], keys: list[Path]) -> list[Verdict]:
    from quarterdeck.app.audit import checkpoints_of, opened_log
    from quarterdeck.service.auditing import checked
    from quarterdeck.store.checkpoint_places import read_checkpoints

    url, base, configuration = _place(where, data)
    async with opened_log(url, base) as records:
        found = [each for file in files for each in read_checkpoints(file)]
        tenants = set(await records.audit_heads())
        if configuration is not None:
            tenants |= configuration.tenants
            if not files:
                found = await checkpoints_of(configuration, tenants)
        tenants |= {each.tenant for each in found}  # of somebody gone there may be nothing else
        _check_signatures(found, keys, configuration)
        chosen = sorted(tenants) if tenant is None else [tenant]
        return [await checked(records, each, [known for known in found if known.tenant == each]) for each in chosen]


def _check_signatures(found: list[Checkpoint], keys: list[Path], configuration: Configuration | None) -> None:
    """Raises InvalidInput for a checkpoint that nobody with one of the keys signed."""
    from quarterdeck.app.audit import key_file
    from quarterdeck.store.checkpoints import PublicKeys

    if not found:
        return
    if not keys and configuration is None:
        raise InvalidInput("checkpoints prove nothing without the public key of who signs: name it with --key")
    paths = keys or [key_file(configuration).with_suffix(".pub")] if configuration is not None else keys
    trusted = PublicKeys.read(paths)
    for each in found:
        if not trusted.vouch(each):
            raise InvalidInput(f"the checkpoint of {plain(each.tenant)} at row {each.seq} is signed by none of the keys")


async def _rows(where: str, data: Path | None, tenant: str | None, after: int, limit: int) -> list[dict[str, Any]]:
    from quarterdeck.app.audit import opened_log

    url, base, _ = _place(where, data)
    async with opened_log(url, base) as records:
        return [dict(row) for row in await records.audit_rows(await _one(records, tenant), after, limit)]


async def _export(where: str, data: Path | None, tenant: str | None, file: IO[str]) -> None:
    from quarterdeck.app.audit import opened_log
    from quarterdeck.service.auditing import exported

    url, base, _ = _place(where, data)
    async with opened_log(url, base) as records:
        async for row in exported(records, await _one(records, tenant), by="operator:command-line"):
            _write(file, row)


async def _one(records: Records, tenant: str | None) -> str:
    """The tenant that is meant. Raises InvalidInput if that is not clear."""
    if tenant is not None:
        return tenant
    known = sorted(await records.audit_heads())
    if len(known) != 1:
        raise InvalidInput(f"say whose log with --tenant; there are logs of: {', '.join(map(plain, known)) or 'nobody'}")
    return known[0]


def _write(file: IO[str], row: Mapping[str, Any]) -> None:
    file.write(jsonlib.dumps(dict(row), ensure_ascii=False) + "\n")
