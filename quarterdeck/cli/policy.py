"""``quarterdeck policy``: check it, ask it for a decision, read it in words, see where an agent has all three dangers."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quarterdeck.cli.folder import loaded
from quarterdeck.cli.show import AsJson, as_json, console, plain
from quarterdeck.core.errors import InvalidInput, NotFound
from quarterdeck.settings import Configuration

if TYPE_CHECKING:
    from quarterdeck.core.context import Principal
    from quarterdeck.core.labels import Label
    from quarterdeck.core.tools import Tool

__all__ = ["app"]

app = typer.Typer(
    help="The policy of a folder: check it, ask it, and say what it says. No server needed.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Argument(help="A configuration folder.")]


@app.command()
def check(
    folder: Folder,
    tool: Annotated[str, typer.Argument(help="A tool, to explain one decision; without, the file itself is checked.")] = "",
    args: Annotated[str, typer.Option(help="Arguments of the call, as a JSON object.")] = "{}",
    user: Annotated[str, typer.Option(help="Whose call; by default the first person of users.yaml.")] = "",
    words: Annotated[list[str] | None, typer.Option(help="What the user typed; may be repeated.")] = None,
    context: Annotated[
        str, typer.Option(help="trusted, endorsed or untrusted: the worst text the model has seen.")
    ] = "untrusted",
    readers: Annotated[
        list[str] | None, typer.Option(help="Who may read what it has seen (user:.., group:..); by default the user alone.")
    ] = None,
    made: Annotated[int, typer.Option(min=0, help="How often the run has called the tool.")] = 0,
    json: AsJson = False,
) -> None:
    """Check the policy file, or say how one call would be decided, by which rule and why."""
    from quarterdeck.app.policy import described

    configuration = loaded(folder)
    with described(configuration) as (tools, policy):
        if not tool:
            _tell({"policy_version": policy.version, "tools": len(tools), "rules": len(policy.rules)}, json=json)
            return
        from quarterdeck.core.messages import ToolCall
        from quarterdeck.policy import Grounds

        found = next((each for each in tools if each.name == tool), None)
        principal = _person(configuration, user)
        grounds = Grounds(words=tuple(words or ()), calls_made={tool: made})
        call = ToolCall(id="check", name=tool, args=_bound(found, args))
        decision = policy.decide(call, found, _label(context, readers, principal), principal, grounds)
        _tell(
            {
                "verdict": decision.verdict.value,
                "rule": decision.rule,
                "reasons": list(decision.reasons),
                "approvers": list(decision.approvers),
                "user": principal.user,
                "policy_version": decision.policy_version,
            },
            json=json,
        )


@app.command()
def explain(
    folder: Folder,
    tool: Annotated[str, typer.Argument(help="One tool; without, all of them.")] = "",
    json: AsJson = False,
) -> None:
    """Say in words what the policy says of each tool."""
    from quarterdeck.app.policy import described
    from quarterdeck.policy.explain import explain as explained

    with described(loaded(folder)) as (tools, policy):
        told = explained(policy, [each for each in tools if tool in ("", each.name)])
    if not told:
        raise NotFound(f"there is no tool {tool!r}")
    if json:
        as_json([asdict(each) for each in told])
        return
    for each in told:
        console().print(f"{each.tool} (risk {each.risk})", style="bold", markup=False)
        for sentence in each.says:
            console().print(f"  {plain(sentence)}", markup=False)


@app.command()
def lint(
    folder: Folder,
    strict: Annotated[bool, typer.Option("--strict", help="Fail if there is a warning.")] = False,
    json: AsJson = False,
) -> None:
    """Tell from configuration alone which agents have all three dangers, what to look at, and where nobody can agree."""
    from quarterdeck.app.approvals import unheld
    from quarterdeck.app.policy import described
    from quarterdeck.policy.lint import lint as linted
    from quarterdeck.policy.lint import rule_of_two

    configuration = loaded(folder)
    with described(configuration) as (tools, policy):
        agents = [
            rule_of_two(policy, name, [tool for tool in tools if tool.name in spec.tools])
            for name, spec in configuration.agents.items()
        ]
        findings = linted(policy, tools)
        nobody = unheld(policy, configuration.users)
    if json:
        as_json(
            {
                "agents": [{**asdict(agent), "all_three": agent.all_three, "verdict": agent.verdict} for agent in agents],
                "findings": [asdict(finding) for finding in findings],
                "unheld": nobody,
            }
        )
    else:
        for agent in agents:
            console().print(f"agent {agent.agent}: {agent.verdict}", markup=False, style="yellow" if agent.unasked else None)
        for finding in findings:
            style = "yellow" if finding.level == "warning" else "dim"
            console().print(f"{finding.level}: {finding.tool} {plain(finding.text)}", markup=False, style=style)
        for said in nobody:
            console().print(f"warning: {plain(said)}", markup=False, style="yellow")
    if strict and (nobody or any(finding.level == "warning" for finding in findings)):
        raise typer.Exit(1)


def _tell(told: dict[str, Any], *, json: bool) -> None:
    if json:
        as_json(told)
        return
    for name, value in told.items():
        shown = "; ".join(value) if isinstance(value, list) else value
        if shown != "":
            console().print(f"{name}: {plain(shown)}", markup=False)


def _person(configuration: Configuration, user: str) -> Principal:
    from quarterdeck.core.context import Principal

    people = [each for each in configuration.users if user in ("", each.id)]
    if user and not people:
        raise NotFound(f"there is no user {user!r}; there are {', '.join(each.id for each in configuration.users)}")
    if not people:
        return Principal(user="nobody", tenant="default")
    person = people[0]
    return Principal(user=person.id, tenant=person.tenant, roles=person.roles, groups=person.groups, scopes=person.scopes)


def _label(context: str, readers: Sequence[str] | None, principal: Principal) -> Label:
    from quarterdeck.core.labels import Integrity, Label, Readers

    levels = {level.name.lower(): level for level in Integrity}
    if context not in levels:
        raise InvalidInput(f"--context {context!r} is none of {', '.join(levels)}")
    return Label(integrity=levels[context], readers=Readers.of(*(readers or [f"user:{principal.user}"])))


def _bound(tool: Tool | None, args: str) -> dict[str, Any]:
    try:
        given = jsonlib.loads(args)
    except ValueError as error:
        raise InvalidInput(f"--args is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise InvalidInput("--args must be a JSON object")
    return given if tool is None else tool.bind(given)
