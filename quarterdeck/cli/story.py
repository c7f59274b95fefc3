"""A run's story in the terminal: step by step, what may not be read left out with a mark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console

from quarterdeck.cli.show import indented, plain

__all__ = ["print_story"]

_WITHHELD = "(withheld)"
_LONGEST = 600  # characters of one text


def print_story(out: Console, run: Mapping[str, Any]) -> None:
    """Print a run with its steps."""
    out.print(f"[bold]{plain(run['status'])}[/] ({plain(run['stop_reason'])}), {run['latency_ms']:.0f} ms")
    about = [f"run {run['run_id']}", f"request {run['request_id'] or '-'}", f"trace {run['trace_id'] or '-'}"]
    about += [f"{name}={value}" for name, value in run["tags"].items()]
    out.print(plain(" · ".join(about)), style="dim", markup=False)
    if run["withheld"]:
        hidden = f"What was said in it is shown to {run['user']} only, who asked."
        out.print(plain("Some of it you may not read." if run["question"] else hidden), style="dim", markup=False)
    for step in run["steps"]:
        out.print(plain(_heading(step)), style="cyan", markup=False)
        for line in _lines(step["kind"], step["told"]):
            out.print(f"    {indented(line)}", markup=False)
    usage = run["usage"]
    cost = "unknown" if usage["cost_usd"] is None else f"{usage['cost_usd']:.6f} USD"
    out.print(f"{usage['total_tokens']} tokens, cost {cost}, model {plain(run['model']) or '-'}", style="dim", markup=False)


def _heading(step: Mapping[str, Any]) -> str:
    parts = [f"{step['seq']:>3} {step['kind'].replace('_', ' ')}"]
    if step["seconds"] is not None:
        parts.append(f"{step['seconds'] * 1000:.0f} ms")
    if step["tokens"]:
        parts.append(f"{step['tokens']} tokens")
    if step["cost_usd"]:
        parts.append(f"{step['cost_usd']:.6f} USD")
    return " · ".join(parts)


def _lines(kind: str, told: Mapping[str, Any]) -> Iterator[str]:
    match kind:
        case "input":
            yield f"{told['user']} asks {told['agent']}: {_said(told['question'])}"
        case "retrieval":
            yield f"searched ({told['mode']}) for: {_said(told['query'])}"
            yield from told["notes"]
            yield from map(_passage, told["passages"])
        case "model":
            yield from _model(told)
        case "policy":
            reasons = "; ".join(map(_said, told["reasons"]))
            yield f"{told['tool']} ({told['call_id']}): {told['verdict']} by {told['rule']}, context {told['integrity']}"
            if reasons:
                yield f"because {reasons}"
        case "tool":
            error = f" ({told['error']})" if told["error"] else ""
            yield f"{told['tool']} ({told['call_id']}) {_value(told['arguments'])}: {told['status']}{error}"
            if told["output"]:
                yield _said(told["output"])
            yield from map(_passage, told["passages"])
        case "answer":
            yield from _answer(told)
        case _:
            yield from (f"{name}: {_value(value)}" for name, value in told.items() if value not in (None, "", []))


def _model(told: Mapping[str, Any]) -> Iterator[str]:
    prompt, reply = told["prompt"], told["reply"]
    yield f"{told['model']}{' by ' + told['route'] if told['route'] else ''}, turn {told['turn']}: {told['finish_reason']}"
    if prompt["system"] is not None:
        yield f"given system: {_said(prompt['system'])}"
    if prompt["as_before"]:
        yield f"given {prompt['as_before']} messages as before"
    for message in prompt["messages"]:
        calls = ", ".join(f"calls {call['name']} ({call['id']})" for call in message.get("tool_calls", ()))
        yield f"given {message['role']} [{message['integrity']}]: {_said(message) or calls}"
    if reply.get("text") != "":
        yield f"says: {_said(reply)}"
    for call in reply.get("tool_calls", ()):
        yield f"calls {call['name']} ({call['id']}) {_value(call['arguments'])}"


def _answer(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_said(told['answer'])}"
    score = "" if told["confidence_score"] is None else f" ({told['confidence_score']:.2f})"
    yield f"confidence {told['confidence']}{score}" + (", a person should look at it" if told["needs_human_review"] else "")
    for citation in told["citations"]:
        yield f"cites, support {citation['support']:.2f}: {_said(citation['sentence'])}"
        yield f"  {_passage(citation['passage'])}"


def _passage(passage: Mapping[str, Any]) -> str:
    if passage.get("withheld"):
        return f"{passage['score']:.3f} {_WITHHELD}"
    return f"{passage['score']:.3f} [{passage['id']}] {passage['title']}"


def _said(said: Mapping[str, Any]) -> str:
    text = _WITHHELD if said.get("withheld") else " ".join(str(said.get("text", "")).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        if value.get("withheld"):
            return _WITHHELD
        return _said(value) if "text" in value else ", ".join(f"{name}={item}" for name, item in value.items())
    return ", ".join(map(_value, value)) if isinstance(value, list) else str(value)
