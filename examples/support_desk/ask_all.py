"""Ask the ten prompts of ``prompts.yaml`` and write what came back: ``python examples/support_desk/ask_all.py OUT.md``.

It starts a server of its own on a free port of the loopback interface with an empty data folder and no model key, asks
over HTTP as each prompt's user, approves the ticket's draft as the approver, and ends. Ids and times differ from run to
run and are left out or replaced by a word, so that the same program gives the same document.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
APPROVER = "omar"
_PATIENCE_S = 30.0
_HEAD = """# Ten prompts

What the example support desk really answered, with the simulated model. Written by `make prompts`; a test compares this
page with a fresh run. Ids and times are replaced by words.
"""


@contextmanager
def server() -> Iterator[tuple[str, Mapping[str, str]]]:
    """A server on this folder; gives its address and the key of each person."""
    with tempfile.TemporaryDirectory() as data:
        hidden = ("QUARTERDECK_", "OPENAI_", "ANTHROPIC_", "MODEL_NAME", "LLM_MODE", "ENV", "PORT")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        command = [str(Path(sys.executable).with_name("quarterdeck")), "serve", str(HERE)]
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*command, "--port", "0", "--data", data, "--json"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield _address(process), _keys(Path(data) / "keys")
        finally:
            process.terminate()
            process.wait(_PATIENCE_S)
            if process.stdout is not None:
                process.stdout.close()


def _address(process: subprocess.Popen[str]) -> str:
    """The server says where it is in its first line, once it is ready."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the server ended before it was ready")
    return str(json.loads(line)["url"])


def _keys(path: Path) -> dict[str, str]:
    return {user: key for user, key, *_ in (line.split() for line in path.read_text().splitlines() if line.strip())}


def call(url: str, key: str, body: Mapping[str, Any] | None = None) -> Any:
    """One request: POST with a body, GET without."""
    request = urllib.request.Request(  # noqa: S310 - the server started above
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_PATIENCE_S) as response:  # noqa: S310 - as above
        return json.load(response)


def ask_all() -> str:
    """The document."""
    prompts = yaml.safe_load((HERE / "prompts.yaml").read_text())["prompts"]
    parts = [_HEAD]
    sessions: dict[str, str] = {}
    with server() as (url, keys):
        for number, prompt in enumerate(prompts, 1):
            key = keys[prompt["user"]]
            body = {"message": prompt["message"]}
            if prompt.get("session") in sessions:
                body["session_id"] = sessions[prompt["session"]]
            answer = call(f"{url}/chat", key, body)
            if "session" in prompt:
                sessions[prompt["session"]] = answer["session_id"]
            parts.append(_section(number, prompt, answer))
            parts += [_approval(url, keys[APPROVER], key, draft, answer["run_id"]) for draft in answer["drafts"]]
    return "\n".join(parts)


def _section(number: int, prompt: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    lines = [f"## {number}. {prompt['title']}\n", f"{prompt['user'].title()} asks: **{prompt['message']}**\n"]
    lines += [f"> {line}" if line else ">" for line in _stable(answer["answer"]).splitlines()]
    lines.append("")
    shown = {
        "stop reason": answer["stop_reason"],
        "confidence": answer["confidence"],
        "tools": ", ".join(answer["tool_calls"]) or "none",
        "sources": ", ".join(answer["sources"]) or "none",
        "needs human review": "yes" if answer["needs_human_review"] else "no",
        "drafts": str(len(answer["drafts"])),
        "model": answer["model"],
    }
    lines += [f"- {name}: {value}" for name, value in shown.items()]
    for citation in answer["citations"]:
        quoted = " ".join(citation["content"].split())
        lines.append(
            f"- passage `{citation['id']}`, {citation['title']}: “{quoted[:240]}{'…' if len(quoted) > 240 else ''}”"
        )
    return "\n".join(lines) + "\n"


def _approval(url: str, approver: str, asker: str, draft_id: str, run_id: str) -> str:
    draft = call(f"{url}/api/v1/approvals/{draft_id}", approver)
    decided = call(f"{url}/api/v1/approvals/{draft_id}/decisions", approver, {"approved": True, "reason": "agreed"})
    until = time.monotonic() + _PATIENCE_S
    while (run := call(f"{url}/api/v1/runs/{run_id}", asker))["status"] != "done" and time.monotonic() < until:
        time.sleep(0.05)
    args = json.dumps(draft["args"], ensure_ascii=False, indent=2)
    return (
        f"The draft, as {APPROVER.title()} sees it ({draft['tool']}, because: {'; '.join(draft['reasons'])}):\n\n"
        f"```json\n{args}\n```\n\n{APPROVER.title()} approves it ({decided['status']}), and the run goes on:\n\n"
        f"> {_stable(run['answer'])}\n\n- stop reason: {run['stop_reason']}\n"
    )


def _stable(text: str) -> str:
    return re.sub(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|\+00:00)?", "(time)", text)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(ask_all())
