"""``quarterdeck approvals``: drafts that wait for people, and writes in doubt."""

from __future__ import annotations

import json as jsonlib
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from quarterdeck.cli.client import Client, Key, Url, segment
from quarterdeck.cli.show import AsJson, as_json, console, indented, plain, table
from quarterdeck.core.errors import InvalidInput

__all__ = ["app"]

app = typer.Typer(help="Drafts that wait for people, and writes in doubt.", no_args_is_help=True)

_ORIGINS = {
    "words": "the requester's own words",
    "record": "a trusted source",
    "untrusted": "UNTRUSTED text",
    "default": "the tool's default",
    "model": "the model",
}
_LOCAL = "http://127.0.0.1:8080"
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
DraftIds = Annotated[list[str], typer.Argument(help="Ids of drafts.")]
DraftId = Annotated[str, typer.Argument(help="Id of a draft.")]
Reason = Annotated[str | None, typer.Option(help="Why; it stands in the run.")]


@app.command("list")
def list_drafts(
    url: Url = _LOCAL,
    key: Key = None,
    status: Annotated[str, typer.Option(help="waiting, approved, rejected, expired, withdrawn or all.")] = "waiting",
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
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
    draft = Client(url=url, key=key).get(f"/api/v1/approvals/{segment(draft_id)}")
    if json:
        as_json(draft)
        return
    out = console()
    out.print(f"[bold]{plain(draft['tool'])}[/] for {plain(draft['requested_by'])}: {plain(draft['status'])}")
    for name, value in draft["args"].items():
        out.print(f"  {plain(name)}: {indented(value)}", markup=False)
    for each in draft["evidence"]:
        source = f" in {each['source']}" if each["source"] else ""
        out.print(f"  {plain(each['argument'])} <- {_ORIGINS[each['origin']]}{plain(source)}", markup=False, style="dim")
        if each["snippet"]:
            out.print(f"    | {indented(each['snippet'])}", markup=False, style="dim")
    for each in draft["endorsed"]:
        out.print(f"  {plain(each['argument'])} = {indented(each['value'])}: endorsed by {plain(each['by'])}", markup=False)
    for each in draft["endorse"]:
        out.print(f"  {plain(each['argument'])} = {indented(each['value'])}: to be endorsed before approval", markup=False)
    out.print(f"goes to: {indented(', '.join(draft['sink']) or 'nobody else')}", markup=False)
    agreed = ", ".join(each["by"] for each in draft["consents"]) or "nobody yet"
    who = f"{draft['quorum']} of {', '.join(draft['approvers'])}"
    out.print(f"level {draft['step']} of {draft['steps']}: {plain(who)}; agreed: {plain(agreed)}", markup=False)
    out.print(f"why: {indented('; '.join(draft['reasons']) or draft['rule'])}", markup=False)
    out.print(f"taken back by: {plain(draft['undo'] or 'nothing')}", markup=False)
    out.print(f"risk {draft['risk']}, context {draft['integrity']}, waits until {draft['expires_at']}", style="dim")


@app.command()
def approve(
    draft_ids: DraftIds,
    url: Url = _LOCAL,
    key: Key = None,
    reason: Reason = None,
    edit: Annotated[str | None, typer.Option(help="All arguments as JSON, to be executed in place of the proposed.")] = None,
    json: AsJson = False,
) -> None:
    """Approve drafts: each is executed once, when all who must agree have. Several at once must be of one tool."""
    client = Client(url=url, key=key)
    if len(draft_ids) > 1:
        if edit is not None:
            raise InvalidInput("--edit goes with one draft")
        _decide_all(client, draft_ids, {"approved": True, "reason": reason}, json)
        return
    body: dict[str, Any] = {"approved": True, "reason": reason}
    if edit is not None:
        body["edited_args"] = _object(edit)
    _decide(client, draft_ids[0], body, json)


@app.command()
def reject(draft_ids: DraftIds, url: Url = _LOCAL, key: Key = None, reason: Reason = None, json: AsJson = False) -> None:
    """Reject drafts; the agent is told why."""
    client, body = Client(url=url, key=key), {"approved": False, "reason": reason}
    if len(draft_ids) > 1:
        _decide_all(client, draft_ids, body, json)
    else:
        _decide(client, draft_ids[0], body, json)


@app.command()
def undo(
    draft_id: Annotated[str, typer.Argument(help="Id of a draft that was executed.")],
    url: Url = _LOCAL,
    key: Key = None,
    reason: Reason = None,
    json: AsJson = False,
) -> None:
    """Take back what a draft did, by the tool its author named for that; policy decides it like any call."""
    run = Client(url=url, key=key).post(f"/api/v1/approvals/{segment(draft_id)}/undo", {"reason": reason or ""})
    if json:
        as_json(run)
    else:
        console().print(f"Run {run['run_id']} takes it back: {run['status']}.", markup=False)


@app.command()
def endorse(
    draft_id: DraftId,
    argument: Annotated[str, typer.Argument(help="The argument it stands in.")],
    value: Annotated[str, typer.Argument(help="The value, as the draft shows it.")],
    url: Url = _LOCAL,
    key: Key = None,
    reason: Reason = None,
    json: AsJson = False,
) -> None:
    """Say of one value that it is right, for its run; if nothing else is in the way, the call runs."""
    body = {"argument": argument, "value": value, "reason": reason or ""}
    draft = Client(url=url, key=key).post(f"/api/v1/approvals/{segment(draft_id)}/endorsements", body)
    if json:
        as_json(draft)
        return
    left = ", ".join(dict.fromkeys(each["argument"] for each in draft["endorse"]))
    then = f"{left} must still be endorsed" if left else f"run {draft['run_id']} looks at the call again"
    console().print(f"{plain(argument)} of {plain(draft['tool'])} is endorsed; {plain(then)}.", markup=False)


@app.command()
def delegate(
    to: Annotated[str, typer.Argument(help="Id of the person.")],
    until: Annotated[datetime, typer.Option(formats=_TIMES, help="When it ends, UTC.")],
    begins: Annotated[datetime | None, typer.Option(formats=_TIMES, help="When it begins, UTC; now, if not given.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept with it.")] = "",
    url: Url = _LOCAL,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """Let somebody else decide in your place for a time."""
    body = {"to": to, "ends_at": _utc(until), "begins_at": None if begins is None else _utc(begins), "reason": reason}
    given = Client(url=url, key=key).post("/api/v1/approvals/delegations", body)
    if json:
        as_json(given)
    else:
        console().print(f"{plain(given['to'])} decides in your place until {given['ends_at']}: {given['id']}", markup=False)


@app.command()
def delegations(url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """List who decides in your place, and in whose place you do."""
    rows = Client(url=url, key=key).get("/api/v1/approvals/delegations")["delegations"]
    if json:
        as_json(rows)
        return
    columns = {"id": "delegation", "giver": "of", "to": "to", "begins_at": "from", "ends_at": "until", "reason": "reason"}
    table(rows, columns, "Nobody decides in another's place.")


@app.command()
def revoke(
    delegation_id: Annotated[str, typer.Argument(help="Id of a delegation.")],
    url: Url = _LOCAL,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """End a delegation before its time."""
    revoked = Client(url=url, key=key).delete(f"/api/v1/approvals/delegations/{segment(delegation_id)}")
    if json:
        as_json(revoked)
    else:
        console().print(f"{plain(revoked['to'])} decides no more in the place of {plain(revoked['giver'])}.", markup=False)


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
    run = client.post(f"/api/v1/runs/{segment(run_id)}/doubts/{segment(call_id)}", {"outcome": outcome, "output": output})
    if json:
        as_json(run)
    else:
        console().print(f"Resolved; run {run_id} goes on.", markup=False)


def _decide_all(client: Client, draft_ids: list[str], body: dict[str, Any], json: bool) -> None:
    outcomes = client.post("/api/v1/approvals/decisions", {"ids": draft_ids, **body})["outcomes"]
    if json:
        as_json(outcomes)
        return
    rows = [{"id": each["id"], "became": each["status"] or each["error"]["message"]} for each in outcomes]
    table(rows, {"id": "draft", "became": "what became of it"}, "Nothing was decided.")


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=UTC).isoformat()


def _decide(client: Client, draft_id: str, body: dict[str, Any], json: bool) -> None:
    draft = client.post(f"/api/v1/approvals/{segment(draft_id)}/decisions", body)
    if json:
        as_json(draft)
    else:
        if draft["status"] == "waiting":
            left = draft["quorum"] - len(draft["consents"])
            console().print(f"{plain(draft['tool'])}: {left} more must agree.", markup=False)
            return
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
