"""``quarterdeck costs``: what was consumed, and what it cost."""

from __future__ import annotations

from typing import Annotated

import typer

from quarterdeck.cli.client import Client, Key, Url
from quarterdeck.cli.show import AsJson, as_json, console, table

__all__ = ["costs"]

_LOCAL = "http://127.0.0.1:8080"
_COLUMNS = {
    "name": "who",
    "day": "day",
    "model": "model",
    "calls": "calls",
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "completion tokens",
    "usd": "US dollars",
}


def costs(
    url: Url = _LOCAL,
    key: Key = None,
    scope: Annotated[
        str, typer.Option(help="user, group, agent, tool, run, tenant or saving; all but user need the right costs.read.")
    ] = "user",
    since: Annotated[str | None, typer.Option(help="First day, YYYY-MM-DD in UTC; today without.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day; today without.")] = None,
    name: Annotated[str | None, typer.Option(help="Of this one alone; a run is asked for by its id.")] = None,
    json: AsJson = False,
) -> None:
    """Show model calls, tokens and money by day and model."""
    told = Client(url=url, key=key).get("/api/v1/costs", scope=scope, since=since, until=until, name=name)
    if json:
        as_json(told)
        return
    table(
        [row | {"usd": _usd(row["cost_usd"], row["unpriced"])} for row in told["costs"]], _COLUMNS, "Nothing was consumed."
    )
    console().print(f"together {told['total_usd']:.4f} US dollars", style="dim")


def _usd(cost: float, unpriced: int) -> str:
    """The money, with a mark where some calls have no known price."""
    return f"{cost:.4f}{f' and {unpriced} calls of unknown price' if unpriced else ''}"
