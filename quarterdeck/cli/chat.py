"""``quarterdeck chat``: ask in the terminal and watch the answer being made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from quarterdeck.cli.client import Client, Key, Url
from quarterdeck.cli.show import AsJson, as_json, console, plain
from quarterdeck.core.errors import QuarterdeckError, error_of

__all__ = ["chat"]


def chat(
    message: Annotated[
        str | None, typer.Argument(help="The question; without one, questions are read line by line.")
    ] = None,
    url: Url = "http://127.0.0.1:8080",
    key: Key = None,
    folder: Annotated[
        Path | None, typer.Option(help="Serve this folder just for this conversation; no server needed.")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Whom to ask.")] = None,
    session: Annotated[str | None, typer.Option(help="A session to go on with.")] = None,
    json: AsJson = False,
) -> None:
    """Ask an agent."""
    if folder is not None:
        from quarterdeck.cli.folder import served_alone

        with served_alone(folder) as address:
            _converse(Client(url=address, key=key), message, agent, session, json)
    else:
        _converse(Client(url=url, key=key), message, agent, session, json)


def _converse(client: Client, message: str | None, agent: str | None, session: str | None, json: bool) -> None:
    for question in _questions(message):
        asked = {"query": question, "agent_id": agent, "session_id": session}
        if json:
            body = client.post("/chat", {"message": question, "agent": agent, "session_id": session})
            as_json(body)
        else:
            body, failure = _streamed(client, asked)
            if failure is not None and message is not None:
                raise failure
        session = body["session_id"]


def _questions(message: str | None) -> Iterator[str]:
    if message is not None:
        yield message
        return
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if line.strip():
            yield line


def _streamed(client: Client, asked: dict[str, Any]) -> tuple[Any, QuarterdeckError | None]:
    """The answer, and what the run failed of."""
    out = console()
    body: Any = {"session_id": asked["session_id"]}
    failure: QuarterdeckError | None = None
    for event, data in client.stream("/api/v1/agent/stream", asked):
        match event:
            case "text":
                out.print(plain(data["text"]), end="", markup=False)
            case "tool_start":
                out.print(f"· {plain(data['name'])} …", style="dim", markup=False)
            case "tool_end" if data["status"] != "ok":
                out.print(f"· {plain(data['name'])}: {plain(data['status'])}", style="yellow", markup=False)
            case "run_failed":
                out.print(f"the run failed: {plain(data['error'])}", style="red", markup=False)
                failure = error_of(data["code"], f"the run failed: {data['error']}")
            case "done":
                body = data
    out.print()
    _sources(out, body)
    return body, failure


def _sources(out: Any, body: Any) -> None:
    for number, citation in enumerate(body.get("citations", ()), start=1):
        # Both marks: the model writes the id while it answers, the settled answer has the number.
        marks = f"[{number}] [{plain(citation['id'])}]"
        out.print(f"{marks} {plain(citation['title'])}  {plain(citation['uri'])}", style="cyan", markup=False)
    if body.get("stop_reason") == "awaiting_approval":
        drafts = ", ".join(body["drafts"])
        out.print(
            f"waits for approval: {drafts}  (quarterdeck approvals show {body['drafts'][0]})", style="yellow", markup=False
        )
    if body:
        tokens = body.get("usage", {}).get("total_tokens", 0)
        out.print(f"{body.get('model')} · {body.get('confidence')} confidence · {tokens} tokens", style="dim", markup=False)
