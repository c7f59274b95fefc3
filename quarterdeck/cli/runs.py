"""``quarterdeck runs``: list, show, and what people do with them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from quarterdeck.cli.client import Client, Key, Url
from quarterdeck.cli.show import AsJson, as_json, console, plain, table

__all__ = ["app"]

app = typer.Typer(help="Runs of a server: list, show, stop, pause, steer, fork, retry, export.", no_args_is_help=True)

_LOCAL = "http://127.0.0.1:8080"
RunId = Annotated[str, typer.Argument(help="Id of a run.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the run.")]
Limit = Annotated[int, typer.Option(min=1, max=200)]


@app.command("list")
def list_runs(
    url: Url = _LOCAL,
    key: Key = None,
    status: Annotated[str | None, typer.Option(help="Only runs with this status, such as waiting.")] = None,
    limit: Limit = 20,
    json: AsJson = False,
) -> None:
    """List runs, newest first."""
    rows = Client(url=url, key=key).get("/api/v1/runs", status=status, limit=limit)["runs"]
    _list(rows, {"created_at": "created"}, "There are no runs.", json)


@app.command()
def dead(url: Url = _LOCAL, key: Key = None, limit: Limit = 20, json: AsJson = False) -> None:
    """List dead letters: runs that stopped their workers again and again. `retry` tries one more time."""
    rows = Client(url=url, key=key).get("/api/v1/runs", status="failed", code="poison", limit=limit)["runs"]
    _list(rows, {"updated_at": "given up"}, "There are no dead letters.", json)


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
def cancel(run_id: RunId, url: Url = _LOCAL, key: Key = None, reason: Reason = "", json: AsJson = False) -> None:
    """Ask a run to end."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{run_id}/cancel", {"reason": reason})
    _told(run, f"Run {run_id} was asked to end.", json)


@app.command()
def pause(run_id: RunId, url: Url = _LOCAL, key: Key = None, reason: Reason = "", json: AsJson = False) -> None:
    """Ask a run to rest before its next step."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{run_id}/pause", {"reason": reason})
    _told(run, f"Run {run_id} was asked to rest; `quarterdeck runs resume {run_id}` lets it go on.", json)


@app.command()
def resume(run_id: RunId, url: Url = _LOCAL, key: Key = None, reason: Reason = "", json: AsJson = False) -> None:
    """Let a paused run go on."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{run_id}/resume", {"reason": reason})
    _told(run, f"Run {run_id} goes on.", json)


@app.command()
def steer(
    run_id: RunId,
    message: Annotated[str, typer.Argument(help="What its model shall hear before its next reply.")],
    url: Url = _LOCAL,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """Say something into a run."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{run_id}/steer", {"message": message})
    _told(run, f"Run {run_id} was told.", json)


@app.command()
def fork(
    run_id: RunId,
    at: Annotated[int, typer.Option(min=1, help="Seq of the last event the new run has in common with this one.")],
    url: Url = _LOCAL,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """Begin a new run from a point of another one."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{run_id}/fork", {"at": at})
    _told(run, f"Run {run['run_id']} goes on from event {at} of {run_id}.", json)


@app.command()
def retry(run_id: RunId, url: Url = _LOCAL, key: Key = None, reason: Reason = "", json: AsJson = False) -> None:
    """Have a failed run go on from where it failed."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{run_id}/retry", {"reason": reason})
    _told(run, f"Run {run_id} is tried again.", json)


@app.command()
def export(run_id: RunId, url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """Keep all that happened in a run where the server keeps snapshots."""
    kept = Client(url=url, key=key).post(f"/api/v1/runs/{run_id}/export", {})
    _told(kept, kept["uri"], json)


def _list(rows: list[dict[str, Any]], last: dict[str, str], empty: str, json: bool) -> None:
    if json:
        as_json(rows)
        return
    columns = {"run_id": "run", "status": "status", "agent": "agent", "user": "user", **last}
    shown = [row | {name: row[name][:19].replace("T", " ") for name in last} for row in rows]
    table(shown, columns, empty)


def _told(run: dict[str, Any], text: str, json: bool) -> None:
    if json:
        as_json(run)
    else:
        console().print(text, markup=False)
