"""``quarterdeck approvals``: drafts that wait for people, and writes in doubt."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated, Any

import typer

from quarterdeck.cli.client import Client, Key, Url
from quarterdeck.cli.show import AsJson, as_json, console, plain, table
from quarterdeck.core.errors import InvalidInput

__all__ = ["app"]

app = typer.Typer(help="Drafts that wait for people, and writes in doubt.", no_args_is_help=True)

_LOCAL = "http://127.0.0.1:8080"
DraftId = Annotated[str, typer.Argument(help="Id of a draft.")]
Reason = Annotated[str | None, typer.Option(help="Why; it stands in the run.")]


@app.command("list")
def list_drafts(
    url: Url = _LOCAL,
    key: Key = None,
    status: Annotated[str, typer.Option(help="waiting, approved, rejected, expired or all.")] = "waiting",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    json: AsJson = False,
) -> None:
    """List drafts, newest first."""
    wanted = None if status == "all" else status
    rows = Client(url=url, key=key).get("/api/v1/approvals", status=wanted, limit=limit)["approvals"]
    if json:
        as_json(rows)
        return
    columns = {"id": "draft", "status": "status", "tool": "tool", "args": "arguments", "requested_by": "for"}
    table([row | {"args": _short(row["args"])} for row in rows], columns, "No draft waits.")


@app.command()
def show(draft_id: DraftId, url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """Show what would be done, for whom, and why a person is asked."""
    draft = Client(url=url, key=key).get(f"/api/v1/approvals/{draft_id}")
    if json:
        as_json(draft)
        return
    out = console()
    out.print(f"[bold]{plain(draft['tool'])}[/] for {plain(draft['requested_by'])}: {plain(draft['status'])}")
    for name, value in draft["args"].items():
        out.print(f"  {plain(name)}: {plain(value)}", markup=False)
    out.print(f"why: {plain('; '.join(draft['reasons']) or draft['rule'])}", markup=False)
    out.print(f"risk {draft['risk']}, context {draft['integrity']}, waits until {draft['expires_at']}", style="dim")


@app.command()
def approve(
    draft_id: DraftId,
    url: Url = _LOCAL,
    key: Key = None,
    reason: Reason = None,
    edit: Annotated[str | None, typer.Option(help="All arguments as JSON, to be executed in place of the proposed.")] = None,
    json: AsJson = False,
) -> None:
    """Approve a draft: it is executed once."""
    body: dict[str, Any] = {"approved": True, "reason": reason}
    if edit is not None:
        body["edited_args"] = _object(edit)
    _decide(Client(url=url, key=key), draft_id, body, json)


@app.command()
def reject(draft_id: DraftId, url: Url = _LOCAL, key: Key = None, reason: Reason = None, json: AsJson = False) -> None:
    """Reject a draft; the agent is told why."""
    _decide(Client(url=url, key=key), draft_id, {"approved": False, "reason": reason}, json)


@app.command()
def doubt(
    run_id: Annotated[str | None, typer.Argument(help="Run of the write; without one, doubts are listed.")] = None,
    call_id: Annotated[str | None, typer.Argument(help="The call, such as t2c1.")] = None,
    outcome: Annotated[str | None, typer.Option(help="done: it happened. repeat: do it again. failed: it did not.")] = None,
    output: Annotated[str, typer.Option(help="What it gave, when done.")] = "",
    url: Url = _LOCAL,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """List writes of which nobody knows whether they happened, or say what became of one."""
    client = Client(url=url, key=key)
    if run_id is None:
        rows = client.get("/api/v1/doubts")["doubts"]
        if json:
            as_json(rows)
        else:
            columns = {"run_id": "run", "call_id": "call", "tool": "tool", "args": "arguments", "not_before": "answer from"}
            table([row | {"args": _short(row["args"])} for row in rows], columns, "Nothing is in doubt.")
        return
    if call_id is None or outcome not in ("done", "repeat", "failed"):
        raise InvalidInput("name the call, and --outcome done, repeat or failed")
    run = client.post(f"/api/v1/runs/{run_id}/doubts/{call_id}", {"outcome": outcome, "output": output})
    if json:
        as_json(run)
    else:
        console().print(f"Resolved; run {run_id} goes on.", markup=False)


def _decide(client: Client, draft_id: str, body: dict[str, Any], json: bool) -> None:
    draft = client.post(f"/api/v1/approvals/{draft_id}/decisions", body)
    if json:
        as_json(draft)
    else:
        edited = " with edited arguments" if draft["edited_args"] else ""
        console().print(f"{plain(draft['tool'])}: {draft['status']}{edited}; run {draft['run_id']} goes on.", markup=False)
        console().print(f"What came of it: quarterdeck runs show {draft['run_id']}", style="dim", markup=False)


def _object(text: str) -> dict[str, Any]:
    try:
        value = jsonlib.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--edit is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput("--edit must be a JSON object with all arguments")
    return value


def _short(args: dict[str, Any], width: int = 60) -> str:
    text = ", ".join(f"{name}={value}" for name, value in args.items())
    return text if len(text) <= width else text[: width - 1] + "…"
