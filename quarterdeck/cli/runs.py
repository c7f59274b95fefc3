"""``quarterdeck runs``: list, show, and what people do with them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from quarterdeck.cli.client import Client, Key, Url, segment
from quarterdeck.cli.show import AsJson, as_json, console, table
from quarterdeck.cli.story import print_story
from quarterdeck.core.errors import InvalidInput, NotFound

__all__ = ["app"]

app = typer.Typer(help="Runs of a server: list, show, stop, pause, steer, fork, retry, export.", no_args_is_help=True)

_LOCAL = "http://127.0.0.1:8080"
RunId = Annotated[str, typer.Argument(help="Id of a run.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the run.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]


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
def show(
    id: Annotated[str, typer.Argument(help="Id of a run, or of a request as X-Request-Id told it.")],
    url: Url = _LOCAL,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """Tell what happened in a run, or in the runs of a request: prompts, searches, decisions, calls, answer, cost."""
    client = Client(url=url, key=key)
    try:
        story = client.get(f"/api/v1/runs/{segment(id)}/story")
        runs = [story]
    except (NotFound, InvalidInput):  # no run has it, or could have
        story = _of_request(client, f"/api/v1/requests/{segment(id)}")
        runs = story["runs"]
    if json:
        as_json(story)
        return
    for run in runs:
        print_story(console(), run)


@app.command()
def cancel(run_id: RunId, url: Url = _LOCAL, key: Key = None, reason: Reason = "", json: AsJson = False) -> None:
    """Ask a run to end."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{segment(run_id)}/cancel", {"reason": reason})
    _told(run, f"Run {run_id} was asked to end.", json)


@app.command()
def pause(run_id: RunId, url: Url = _LOCAL, key: Key = None, reason: Reason = "", json: AsJson = False) -> None:
    """Ask a run to rest before its next step."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{segment(run_id)}/pause", {"reason": reason})
    _told(run, f"Run {run_id} was asked to rest; `quarterdeck runs resume {run_id}` lets it go on.", json)


@app.command()
def resume(run_id: RunId, url: Url = _LOCAL, key: Key = None, reason: Reason = "", json: AsJson = False) -> None:
    """Let a paused run go on."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{segment(run_id)}/resume", {"reason": reason})
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
    run = Client(url=url, key=key).post(f"/api/v1/runs/{segment(run_id)}/steer", {"message": message})
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
    run = Client(url=url, key=key).post(f"/api/v1/runs/{segment(run_id)}/fork", {"at": at})
    _told(run, f"Run {run['run_id']} goes on from event {at} of {run_id}.", json)


@app.command()
def retry(run_id: RunId, url: Url = _LOCAL, key: Key = None, reason: Reason = "", json: AsJson = False) -> None:
    """Have a failed run go on from where it failed."""
    run = Client(url=url, key=key).post(f"/api/v1/runs/{segment(run_id)}/retry", {"reason": reason})
    _told(run, f"Run {run_id} is tried again.", json)


@app.command()
def export(run_id: RunId, url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """Keep all that happened in a run where the server keeps snapshots."""
    kept = Client(url=url, key=key).post(f"/api/v1/runs/{segment(run_id)}/export", {})
    _told(kept, kept["uri"], json)


def _of_request(client: Client, path: str) -> dict[str, Any]:
    """All its runs, oldest first, however many the server tells at once."""
    story: dict[str, Any] = client.get(path)
    while (before := story["before"]) is not None:
        older = client.get(path, before=before)
        story = older | {"runs": older["runs"] + story["runs"]}
    return story


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
