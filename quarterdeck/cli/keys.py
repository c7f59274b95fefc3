"""``quarterdeck keys``: API keys people make for themselves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from quarterdeck.cli.client import Client, Key, Url, segment
from quarterdeck.cli.show import AsJson, as_json, console, plain, table

__all__ = ["app"]

app = typer.Typer(help="API keys for programs, with as many of one's rights as they need.", no_args_is_help=True)

_LOCAL = "http://127.0.0.1:8080"
KeyId = Annotated[str, typer.Argument(help="Id of a key, as `keys list` tells it. It is not the key.")]
Once = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key", help="However often the command is given with one, it is done once; then exit code 5."
    ),
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[list[str], typer.Option(help="One of one's own scopes that it shall have.")],
    expires_at: Annotated[
        str | None, typer.Option(help="End, as 2027-01-01T00:00:00Z; without one it counts until it is revoked.")
    ] = None,
    once: Once = None,
    url: Url = _LOCAL,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """Make a key for oneself. It is printed once, on standard output, and kept nowhere."""
    body = {"name": name, "scopes": scope, "expires_at": expires_at}
    _made(Client(url=url, key=key).post("/api/v1/keys", body, once=once), json=json)


@app.command("list")
def list_keys(url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """List the keys of the tenant, newest first, without themselves."""
    client = Client(url=url, key=key)
    rows: list[dict[str, Any]] = []
    while page := client.get("/api/v1/keys", before=rows[-1]["id"] if rows else None)["keys"]:
        rows += page
    if json:
        as_json(rows)
        return
    columns = {
        "id": "key",
        "user": "of",
        "name": "for",
        "scopes": "may",
        "made_at": "made",
        "used_at": "last used",
        "expires_at": "ends",
    }
    table([row | _shown(row) for row in rows], columns, "There is no key.")


@app.command()
def rotate(
    key_id: KeyId,
    grace_s: Annotated[float, typer.Option(min=0, help="Seconds the text before counts beside the new one.")] = 86_400.0,
    once: Once = None,
    url: Url = _LOCAL,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """Give a key of one's own another text, which is printed once. The one before counts for a time too."""
    told = Client(url=url, key=key).post(f"/api/v1/keys/{segment(key_id)}/rotate", {"grace_s": grace_s}, once=once)
    _made(told, json=json)


@app.command()
def revoke(key_id: KeyId, url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """Take a key of the tenant back: it lets nobody in any more, its streams end, its runs stop."""
    told = Client(url=url, key=key).delete(f"/api/v1/keys/{segment(key_id)}")
    if json:
        as_json(told)
    else:
        console().print(f"{plain(told['id'])}, {plain(told['name'])} of {plain(told['user'])}, is revoked", markup=False)


def _made(told: dict[str, Any], *, json: bool) -> None:
    """The key alone stands on standard output, so that a script can take it; what else there is to say, beside it."""
    if json:
        as_json(told)
        return
    typer.echo(f"{plain(told['name'])}: key {plain(told['id'])}; this is told once", err=True)
    typer.echo(told["key"])


def _shown(row: dict[str, Any]) -> dict[str, str]:
    ends = "revoked" if row["revoked"] else row["expires_at"] or "-"
    return {"scopes": ", ".join(row["scopes"]), "used_at": row["used_at"] or "-", "expires_at": ends}
