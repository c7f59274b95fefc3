"""``quarterdeck doctor``: what a folder lacks to be served, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from quarterdeck.cli.folder import Data, loaded
from quarterdeck.cli.show import AsJson, as_json, console, plain
from quarterdeck.core.errors import QuarterdeckError

__all__ = ["doctor"]

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    folder: Annotated[Path, typer.Argument(help="A configuration folder.")],
    data: Data = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no model; everything else is looked at.")] = False,
    json: AsJson = False,
) -> None:
    """Look at everything a folder needs to be served; nothing is changed. Exit code 1: something fails."""
    findings = _findings(folder, data, calls=not offline)
    failed = any(finding["severity"] == "fail" for finding in findings)
    if json:
        as_json({"findings": findings, "ok": not failed})
    else:
        _print(findings)
    raise typer.Exit(1 if failed else 0)


def _findings(folder: Path, data: Path | None, *, calls: bool) -> list[dict[str, Any]]:
    import anyio

    from quarterdeck.app.doctor import examined

    try:
        configuration = loaded(folder, data=data)
    except QuarterdeckError as error:
        advice = "correct what is named; docs/reference/configuration.md lists every key"
        return [{"check": "configuration", "severity": "fail", "said": str(error), "advice": advice}]
    said = f"{configuration.folder}: {configuration.settings.env}, {len(configuration.agents)} agents"
    read = {"check": "configuration", "severity": "ok", "said": said, "advice": ""}

    async def look() -> list[dict[str, Any]]:
        return [
            {
                "check": finding.check,
                "severity": finding.severity.value,
                "said": finding.said,
                "advice": finding.advice,
            }
            for finding in await examined(configuration, calls=calls)
        ]

    return [read, *anyio.run(look)]


def _print(findings: list[dict[str, Any]]) -> None:
    out = console()
    for finding in findings:
        style = _STYLES[finding["severity"]]
        out.print(f"{finding['severity']:<5}", style=style, end="")
        out.print(f"{plain(finding['check'])}: {plain(finding['said'])}", markup=False)
        if finding["advice"]:
            out.print(f"     → {plain(finding['advice'])}", style="dim", markup=False)
