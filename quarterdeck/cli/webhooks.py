"""``quarterdeck webhooks``: who is told what happens, and what became of it."""

from __future__ import annotations

from typing import Annotated

import typer

from quarterdeck.cli.client import Client, Key, Url, segment
from quarterdeck.cli.show import AsJson, as_json, console, plain, table
from quarterdeck.core.errors import InvalidInput

__all__ = ["app"]

app = typer.Typer(help="Webhooks, and deliveries that never arrived.", no_args_is_help=True)

_LOCAL = "http://127.0.0.1:8080"
_PAGE = 200
WebhookId = Annotated[str, typer.Argument(help="Id or configured name of a webhook.")]


@app.command("list")
def list_webhooks(url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """List the webhooks of the tenant."""
    rows = Client(url=url, key=key).get("/api/v1/webhooks")["webhooks"]
    if json:
        as_json(rows)
        return
    columns = {"id": "webhook", "status": "status", "url": "address", "events": "events", "reason": "why"}
    table([row | {"events": ", ".join(row["events"])} for row in rows], columns, "There is no webhook.")


@app.command()
def deliveries(
    url: Url = _LOCAL,
    key: Key = None,
    status: Annotated[str, typer.Option(help="waiting, delivered, dead or all.")] = "dead",
    webhook: Annotated[str | None, typer.Option(help="Only those to this webhook.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=_PAGE, help="How many at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List what was to be told, newest first: by default the dead letters."""
    wanted = None if status == "all" else status
    client = Client(url=url, key=key)
    rows = client.get("/api/v1/deliveries", status=wanted, webhook_id=webhook, limit=limit)["deliveries"]
    if json:
        as_json(rows)
        return
    columns = {"id": "delivery", "status": "status", "type": "event", "address": "to", "attempts": "tried", "error": "said"}
    table(rows, columns, "There is no such delivery.")


@app.command()
def retry(
    delivery_id: Annotated[str | None, typer.Argument(help="Id of a delivery.")] = None,
    url: Url = _LOCAL,
    key: Key = None,
    every: Annotated[bool, typer.Option("--all", help="Every dead letter, in place of one delivery.")] = False,
    webhook: Annotated[str | None, typer.Option(help="With --all: only those to this webhook.")] = None,
    json: AsJson = False,
) -> None:
    """Send a delivery again, or every dead letter. Its receiver knows it by the same id."""
    client = Client(url=url, key=key)
    if every == (delivery_id is not None):
        raise InvalidInput("name a delivery, or say --all; one of the two")
    sent = [client.post(f"/api/v1/deliveries/{segment(name)}/retry", {}) for name in _wanted(client, delivery_id, webhook)]
    if json:
        as_json(sent)
    else:
        console().print(f"On the way again: {len(sent)}", markup=False)


@app.command("test")
def try_out(webhook_id: WebhookId, url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """Send a webhook something now, and say how it went. Exit code 1: it did not arrive."""
    told = Client(url=url, key=key).post(f"/api/v1/webhooks/{segment(webhook_id)}/test", {})
    if json:
        as_json(told)
    else:
        console().print(plain(": ".join(part for part in (told["verdict"], told["detail"]) if part)), markup=False)
    if told["verdict"] != "delivered":
        raise typer.Exit(1)


@app.command()
def enable(webhook_id: WebhookId, url: Url = _LOCAL, key: Key = None, json: AsJson = False) -> None:
    """Have a disabled webhook hear again of what happens from now on."""
    webhook = Client(url=url, key=key).post(f"/api/v1/webhooks/{segment(webhook_id)}/enable", {})
    if json:
        as_json(webhook)
    else:
        console().print(f"{plain(webhook['id'])}: {webhook['status']}", markup=False)


def _wanted(client: Client, delivery_id: str | None, webhook: str | None) -> list[str]:
    """The delivery that was named, or the ids of all dead letters there are now."""
    if delivery_id is not None:
        return [delivery_id]
    found: list[str] = []
    while True:
        before = found[-1] if found else None
        query = {"status": "dead", "webhook_id": webhook, "before": before, "limit": _PAGE}
        rows = client.get("/api/v1/deliveries", **query)["deliveries"]
        found += [row["id"] for row in rows]
        if len(rows) < _PAGE:
            return found
