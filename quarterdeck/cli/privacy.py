"""``quarterdeck privacy``: hand out, or erase, everything a server holds of a person or of a tenant."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from quarterdeck.cli.client import Client, Key, Url, segment
from quarterdeck.cli.show import AsJson, as_json, console, plain
from quarterdeck.core.errors import InvalidInput, Unavailable

__all__ = ["app"]

app = typer.Typer(help="Hand out or erase everything of a person or of a tenant.", no_args_is_help=True)

_LOCAL = "http://127.0.0.1:8080"
User = Annotated[str | None, typer.Option(help="A person or service of the key's tenant.")]
Tenant = Annotated[str | None, typer.Option(help="The key's own tenant, said once more.")]


@app.command()
def export(
    user: User = None,
    tenant: Tenant = None,
    output: Annotated[Path | None, typer.Option(help="File; standard output without.")] = None,
    url: Url = _LOCAL,
    key: Key = None,
) -> None:
    """Write everything that would be erased, as JSON lines."""
    with Client(url=url, key=key).download("/api/v1/privacy/exports", _whose(user, tenant)) as reply:
        if output is None:
            shutil.copyfileobj(reply, sys.stdout.buffer)
            return
        with output.open("wb") as file:
            shutil.copyfileobj(reply, file)
    console().print(f"{plain(output)} is written", markup=False)


@app.command()
def erase(
    user: User = None,
    tenant: Tenant = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    timeout_s: Annotated[float, typer.Option(min=1, help="Seconds to wait for the end.")] = 600.0,
    url: Url = _LOCAL,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """Erase everything of a person or of a tenant, and wait until it is done. It cannot be undone."""
    whose = _whose(user, tenant)
    if not yes:
        typer.confirm(f"Erase everything of {plain(user or tenant)} for good?", abort=True)
    client = Client(url=url, key=key)
    erasure: dict[str, Any] = client.post("/api/v1/privacy/erasures", whose)
    ends = time.monotonic() + timeout_s
    while erasure["status"] != "done":
        if time.monotonic() > ends:
            raise Unavailable(f"erasure {erasure['id']} goes on; {erasure['waiting']} runs still have to end")
        time.sleep(0.2)
        erasure = client.get(f"/api/v1/privacy/erasures/{segment(erasure['id'])}")
    if json:
        as_json(erasure)
        return
    counts = f"{erasure['runs']} runs, {erasure['records']} records, {erasure['things']} documents and snapshots"
    console().print(f"Erased: {counts}. The audit log keeps the proof.", markup=False)


def _whose(user: str | None, tenant: str | None) -> dict[str, str]:
    """Raises InvalidInput unless one of them is given."""
    match user, tenant:
        case str(), None:
            return {"user": user}
        case None, str():
            return {"tenant": tenant}
    raise InvalidInput("say whose data: --user or --tenant")
