"""``quarterdeck access``: who can read and do what."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from quarterdeck.cli.folder import loaded
from quarterdeck.cli.show import AsJson, as_json, table

__all__ = ["app"]

app = typer.Typer(help="Who can read and do what. No server needed.", no_args_is_help=True)


@app.callback()
def access() -> None:
    """Who can read and do what. No server needed."""


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A configuration folder.")],
    tenant: Annotated[str | None, typer.Option(help="Only people of this tenant.")] = None,
    json: AsJson = False,
) -> None:
    """Tell for each person what he may read, have done, and approve: from users.yaml, tools and policy as they are now."""
    from quarterdeck.app.policy import described
    from quarterdeck.service.access_report import access_report

    configuration = loaded(folder)
    with described(configuration) as (tools, policy):
        rows = [row for row in access_report(configuration.users, tools, policy) if tenant in (None, row.tenant)]
    if json:
        as_json([asdict(row) for row in rows])
        return
    columns = {
        "user": "who",
        "tenant": "tenant",
        "reads": "reads documents of",
        "tools": "may have done",
        "approves": "may approve",
        "scopes": "scopes",
    }
    shown = []
    for row in rows:
        tools_shown = [f"{name} (with approval)" if name in row.with_approval else name for name in row.tools]
        lists = {"reads": row.reads, "tools": tools_shown, "approves": row.approves, "scopes": row.scopes}
        told = {name: ", ".join(values) or "-" for name, values in lists.items()}
        shown.append({"user": row.user if row.logs_in else f"{row.user} (cannot log in)", "tenant": row.tenant, **told})
    table(shown, columns, "There is nobody.")
