"""``quarterdeck runs``: list, show, cancel."""

from __future__ import annotations

from typing import Annotated

import typer

from quarterdeck.cli.client import Client, Key, Url
from quarterdeck.cli.show import AsJson, as_json, console, plain, table

__all__ = ["app"]

app = typer.Typer(help="Runs of a server: list, show, cancel.", no_args_is_help=True)

_LOCAL = "http://127.0.0.1:8080"
RunId = Annotated[str, typer.Argument(help="Id of a run.")]


@app.command("list")
def list_runs(
    url: Url = _LOCAL,
    key: Key = None,
    status: Annotated[str | None, typer.Option(help="Only runs with this status, such as waiting.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    json: AsJson = False,
) -> None:
    """List runs, newest first."""
    rows = Client(url=url, key=key).get("/api/v1/runs", status=status, limit=limit)["runs"]
    if json:
        as_json(rows)
    else:
        columns = {"run_id": "run", "status": "status", "agent": "agent", "user": "user", "created_at": "created"}
        table(
            [row | {"created_at": row["created_at"][:19].replace("T", " ")} for row in rows], columns, "There are no runs."
        )


@app.command()
def show(run_id: RunId, url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """Show how a run stands."""
    run = Client(url=url, key=key).get(f"/api/v1/runs/{run_id}")
    if json:
        as_json(run)
        return
    out = console()
    out.print(f"[bold]{plain(run['status'])}[/] ({plain(run['stop_reason'])}), {run['latency_ms']:.0f} ms", markup=True)
    if run["question"]:
        out.print(f"question   {plain(run['question'])}", markup=False)
        out.print(f"answer     {plain(run['answer'])}", markup=False)
    else:
        out.print(f"What was said in it is shown to {plain(run['user'])} only, who asked.", style="dim", markup=False)
    for name in ("sources", "tool_calls", "drafts", "doubts"):
        if run[name]:
            out.print(f"{name:<11}{plain(', '.join(run[name]))}", markup=False)
    if run["error"]:
        out.print(f"error      {plain(run['error']['code'])}: {plain(run['error']['message'])}", style="red", markup=False)


@app.command()
def cancel(
    run_id: RunId,
    url: Url = _LOCAL,
    key: Key = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the run.")] = "",
    json: AsJson = False,
) -> None:
    """Ask a run to end."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{run_id}/cancel", {"reason": reason})
    if json:
        as_json(run)
    else:
        console().print(f"Run {run_id} was asked to end.", markup=False)
