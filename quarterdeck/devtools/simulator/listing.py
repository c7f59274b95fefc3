"""``GET /v1/models``, in the shape of the provider whose headers the request has."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from quarterdeck.devtools.simulator.exchange import Answer, Incoming, whole
from quarterdeck.devtools.simulator.refusals import Refusal

__all__ = ["Listing"]


class Listing:
    def __init__(self, names: Sequence[str], *, created: int) -> None:
        self._names = tuple(names)
        self._created = created

    def all(self, incoming: Incoming) -> Answer:
        data = [self._shown(name, incoming) for name in self._names]
        if b"anthropic-version" in incoming.headers:
            return whole({"data": data, "has_more": False, "first_id": self._names[0], "last_id": self._names[-1]})
        return whole({"object": "list", "data": data})

    def one(self, incoming: Incoming, name: str) -> Answer:
        if name not in self._names:
            if b"anthropic-version" in incoming.headers:
                raise Refusal(404, f"model: {name}")
            raise Refusal(404, f"The model '{name}' does not exist", param="model", code="model_not_found")
        return whole(self._shown(name, incoming))

    def _shown(self, name: str, incoming: Incoming) -> dict[str, Any]:
        if b"anthropic-version" in incoming.headers:
            made = datetime.fromtimestamp(self._created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return {"type": "model", "id": name, "display_name": name, "created_at": made, "lifecycle": "active"}
        return {"id": name, "object": "model", "created": self._created, "owned_by": "simulator"}
