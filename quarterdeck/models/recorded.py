"""Model calls written down, and played again without a network.

A cassette is a file of JSON lines, one per call: the request, what came of it, the pieces it was streamed in. Secrets are
removed before anything is written, and before a request is compared, so a key that changed does not spoil a cassette.
"""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio import to_thread

from quarterdeck.core.context import Context
from quarterdeck.core.errors import Misconfigured, ModelUnavailable, NotFound, QuarterdeckError, error_of
from quarterdeck.core.events import Delta
from quarterdeck.core.ids import canonical_json, content_hash
from quarterdeck.core.masking import Mask
from quarterdeck.core.usage import Usage
from quarterdeck.models.base import Completion, Emit, Model, ModelRequest, Preparing
from quarterdeck.store.codec import from_json, json_text, to_json

__all__ = ["Cassette", "Playback", "Recording", "Replaying"]

_FORMAT = 1


class Cassette:
    """A file of recorded calls. Safe to share between models and tasks of one process."""

    def __init__(self, path: Path, *, secrets: Sequence[str] = ()) -> None:
        """
        Args:
            secrets: Values to remove beside what looks like a secret. The same for recording and replay.
        """
        self.path = path
        self._mask = Mask(secrets)
        self._lock = threading.Lock()

    def asked(self, model: str, request: ModelRequest) -> Mapping[str, Any]:
        """A request as it is written and compared. Sources of labels are ids of one run and left out."""
        data = to_json(request)
        data.pop("question", None)  # it stands in the messages too
        for message in data["messages"]:
            for part in message.get("parts", ()):
                part["label"].pop("sources", None)
        # Through its text, so that it is compared as it will be read: what no file can hold is cleaned here as there.
        cleaned: Mapping[str, Any] = json.loads(json_text(self._mask.value({"model": model, **data})))
        return cleaned

    async def write(self, asked: Mapping[str, Any], outcome: Mapping[str, Any], deltas: Sequence[Delta]) -> None:
        """Append a call. On disk when it returns, except for a crash of the machine."""
        said = self._mask.value(outcome)
        said["deltas"] = [to_json(delta) for delta in self._pieces(deltas)]
        line = json_text({"v": _FORMAT, "key": content_hash(asked), "asked": asked, **said})
        await to_thread.run_sync(self._append, line)

    def _pieces(self, deltas: Sequence[Delta]) -> list[Delta]:
        """`deltas` without secrets, also those that are cut in two."""
        kept = list(deltas)
        for kind in {delta.kind for delta in deltas}:
            places = [place for place, delta in enumerate(deltas) if delta.kind == kind]
            for place, text in zip(places, self._mask.pieces([deltas[place].text for place in places]), strict=True):
                kept[place] = replace(deltas[place], text=text)
        return [delta for delta in kept if delta.text]

    def _append(self, line: str) -> None:
        with self._lock:
            new = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                if new:
                    self.path.chmod(0o600)  # what people asked is nobody else's business
                file.write(line + "\n")

    def read(self) -> list[Mapping[str, Any]]:
        """Every call, in order.

        Raises:
            Misconfigured: There is no such file, or a line of it is no call of this version.
        """
        try:
            lines = self.path.read_text("utf-8").split("\n")  # `splitlines` would also cut at separators within a text
        except OSError as error:
            raise Misconfigured(f"the cassette {self.path} cannot be read: {error.strerror}") from error
        return [self._entry(number, line) for number, line in enumerate(lines, 1) if line.strip()]

    def _entry(self, number: int, line: str) -> Mapping[str, Any]:
        try:
            entry = json.loads(line)
            if entry["v"] == _FORMAT and entry["key"] == content_hash(entry["asked"]):
                return entry  # type: ignore[no-any-return]  # decoded JSON
            problem = "was written by another version, or changed by hand"
        except (ValueError, KeyError, TypeError):
            problem = "is no recorded call"
        raise Misconfigured(f"{self.path}:{number} {problem}: record it again")


class Recording:
    """Asks a model and writes down what came of it, failures too."""

    def __init__(self, model: Model, cassette: Cassette, *, name: str | None = None) -> None:
        """
        Args:
            name: Under which it will be asked for again; None for the model's own.
        """
        self._model = model
        self._cassette = cassette
        self._asked_as = name or model.name

    @property
    def name(self) -> str:
        return self._model.name

    async def prepare(self, request: ModelRequest, ctx: Context) -> None:
        if isinstance(self._model, Preparing):
            await self._model.prepare(request, ctx)

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        deltas: list[Delta] = []

        async def keep(delta: Delta) -> None:
            deltas.append(delta)
            if emit is not None:
                await emit(delta)

        asked = self._cassette.asked(self._asked_as, request)
        try:
            completion = await self._model.complete(request, ctx, None if emit is None else keep)
        except QuarterdeckError as error:
            await self._cassette.write(asked, {"failed": _failure(error)}, deltas)
            raise
        await self._cassette.write(asked, {"said": to_json(completion)}, deltas)
        return completion


class Playback:
    """A cassette being played: each recorded call is given out once. One for all models of a replay."""

    def __init__(self, cassette: Cassette, *, in_order: bool = False) -> None:
        """
        Args:
            in_order: Calls must come in the order of the cassette; else each is found wherever it stands, and equal ones
                come in the order they were recorded.

        Raises:
            Misconfigured: The cassette cannot be read.
        """
        self._cassette = cassette
        self._in_order = in_order
        self._left = cassette.read()

    @property
    def left(self) -> int:
        """Recorded calls nobody has asked for yet."""
        return len(self._left)

    def take(self, model: str, request: ModelRequest) -> Mapping[str, Any]:
        """The recorded call. Raises NotFound, with the difference to the most similar one left, if there is none."""
        asked = self._cassette.asked(model, request)
        key = content_hash(asked)
        reachable = self._left[:1] if self._in_order else self._left
        for place, entry in enumerate(reachable):
            if entry["key"] == key:
                return self._left.pop(place)
        raise NotFound(f"{self._cassette.path} has no such call to {model}{_nearest(asked, reachable)}")


class Replaying:
    """Answers as it was answered then, with pieces, usage and failures. Asks nobody."""

    def __init__(self, name: str, playback: Playback) -> None:
        self._name = name
        self._playback = playback

    @property
    def name(self) -> str:
        return self._name

    async def complete(self, request: ModelRequest, ctx: Context, emit: Emit | None = None) -> Completion:
        """Raises NotFound for a request that was not recorded, and what was raised then."""
        ctx.remaining_s()
        entry = self._playback.take(self._name, request)
        if emit is not None:
            for delta in _deltas(entry):
                await emit(delta)
        if "failed" in entry:
            raise _error(entry["failed"])
        return from_json(Completion, entry["said"])


def _nearest(asked: Mapping[str, Any], left: Sequence[Mapping[str, Any]]) -> str:
    """What distinguishes a request from the most similar recorded one."""
    if not left:
        return ": every recorded call was asked for already"
    text = canonical_json(asked)

    def similarity(entry: Mapping[str, Any]) -> float:
        return difflib.SequenceMatcher(None, text[-4000:], canonical_json(entry["asked"])[-4000:]).quick_ratio()

    place, was, now = _difference(max(left, key=similarity)["asked"], asked, "")
    return f": the nearest differs at {place}: recorded {_shown(was)}, asked {_shown(now)}"


def _difference(was: Any, now: Any, place: str) -> tuple[str, Any, Any]:
    """The first place at which two JSON values differ, and what stands there."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in sorted({*was, *now}):
            if was.get(key) != now.get(key):
                return _difference(was.get(key), now.get(key), f"{place}.{key}" if place else key)
    if isinstance(was, list) and isinstance(now, list):
        for index, (before, after) in enumerate(zip(was, now, strict=False)):
            if before != after:
                return _difference(before, after, f"{place}[{index}]")
        return f"the length of {place}", len(was), len(now)
    return place, was, now


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:120]}... ({len(text)} characters)"


def _deltas(entry: Mapping[str, Any]) -> list[Delta]:
    """As they were recorded; whole where nobody watched then and somebody does now."""
    recorded = [from_json(Delta, delta) for delta in entry["deltas"]]
    text = entry.get("said", {}).get("text", "")
    return recorded or ([Delta(kind="text", text=text)] if text else [])


def _failure(error: QuarterdeckError) -> Mapping[str, Any]:
    return {
        "code": error.code,
        "message": str(error),
        "status": getattr(error, "status", None),
        "usage": None if error.usage is None else to_json(error.usage),
        "delivered": getattr(error, "delivered", False),
    }


def _error(failed: Mapping[str, Any]) -> QuarterdeckError:
    error = error_of(failed["code"], failed["message"])
    if hasattr(error, "status"):
        error.status = failed["status"]
    if isinstance(error, ModelUnavailable):
        error.delivered = failed["delivered"]
    if failed["usage"] is not None:
        error.usage = from_json(Usage, failed["usage"])
    return error
