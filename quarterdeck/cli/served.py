"""Asks the questions of cases of a server that runs already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from quarterdeck.cli.client import Client, segment
from quarterdeck.core.errors import DeadlineExceeded, Misconfigured, Unauthenticated, error_of
from quarterdeck.evals.asking import asker_of, titled
from quarterdeck.evals.base import Case, Outcome, Source
from quarterdeck.service.access import User

__all__ = ["ServerAsker", "read_keys"]

_GRACE_S = 30.0  # what a server may take longer than it was asked to wait


class ServerAsker:
    """An `Asker` over HTTP.

    Args:
        keys: API keys by user.
        key: For cases that name nobody; None to call without one.
        people: Who holds which role.
        timeout_s: Of one question.
    """

    def __init__(
        self, url: str, *, keys: Mapping[str, str], key: str | None, people: Sequence[User], timeout_s: float
    ) -> None:
        self._url = url
        self._keys = keys
        self._key = key
        self._people = people
        self._timeout_s = timeout_s

    async def ask(self, case: Case) -> Outcome:
        key = self._key_of(asker_of(case, self._people))
        client = Client(url=self._url, key=key, timeout_s=self._timeout_s + _GRACE_S, lane="eval")
        asked = {"query": case.input, "agent_id": case.agent, "options": {"timeout_s": self._timeout_s}}
        body = await anyio.to_thread.run_sync(client.post, "/api/v1/agent/query", asked)
        run: Any = None
        if body["stop_reason"] not in ("completed", "awaiting_approval"):
            run = await anyio.to_thread.run_sync(client.get, f"/api/v1/runs/{segment(body['id'])}")
            if run["error"]:
                raise error_of(run["error"]["code"], f"run {body['id']} failed: {run['error']['message']}")
            if run["status"] in ("ready", "running"):
                await anyio.to_thread.run_sync(client.post, f"/api/v1/runs/{segment(body['id'])}/cancel", {})
                raise DeadlineExceeded(f"run {body['id']} did not end within {self._timeout_s:g} s")
        return _outcome(body)

    def _key_of(self, user: str | None) -> str | None:
        if user is None:
            return self._key
        if user not in self._keys:
            raise Unauthenticated(f"there is no key of {user!r}: name the file of keys with --keys")
        return self._keys[user]


def read_keys(path: Path | None) -> dict[str, str]:
    """Keys by user, from lines of a user and a key, as a server writes them. Raises Misconfigured for anything else."""
    if path is None:
        return {}
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path}: cannot be read: {error}") from error
    wrong = [number for number, words in enumerate(lines, start=1) if len(words) != 2]
    if wrong:
        raise Misconfigured(f"{path}:{wrong[0]}: is not a user and a key")
    return {words[0]: words[1] for words in lines}


def _outcome(body: Mapping[str, Any]) -> Outcome:
    return Outcome(
        answer=body["answer"],
        output=body.get("output"),
        sources=tuple(
            Source(
                id=source["id"],
                document=source["metadata"]["document"],
                title=titled(source["metadata"]["title"], source["metadata"]["heading_path"]),
                text=source["content"],
            )
            for source in body["sources"]
        ),
        tools=tuple(body["tool_calls"]),
        drafts=len(body["drafts"]),
        stop_reason=body["stop_reason"],
        confidence=body["confidence"],
        confidence_score=body.get("confidence_score"),
        latency_ms=body["latency_ms"],
        cost_usd=body["usage"]["cost_usd"],
        model=body["model"],
        run_id=body["id"],
    )
