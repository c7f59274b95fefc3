"""Snapshots of state (row L3): bytes that are kept under an id and come back from a URI, wherever states are kept."""

from __future__ import annotations

import json
from typing import Any

from quarterdeck.core.errors import Forbidden, Misconfigured, NotFound, SchemaMismatch
from quarterdeck.store.base import KeyValue
from quarterdeck.store.keyvalue import uri_key

__all__ = ["CONTRACT", "Snapshots"]

CONTRACT = "1.3"  # what `persist_state` promises; a snapshot of another major version is not read

_FOLDER = "snapshots"  # apart from what is saved by key
_HEADER_MOST = 1000  # bytes


class Snapshots:
    """Keeps snapshots in a state store. A later one of the same id replaces the earlier one, under the same URI."""

    def __init__(self, states: KeyValue) -> None:
        self._states = states

    async def persist_state(self, tenant: str, state_id: str, payload: bytes) -> str:
        """Keep a snapshot; returns the URI it comes back from. As durable as the store when it returns.

        Raises:
            InvalidInput: The id is no id or path of ids. StoreUnavailable: try again.
        """
        header = json.dumps({"contract": CONTRACT}).encode()
        return await self._states.save(tenant, f"{_FOLDER}/{state_id}", header + b"\n" + payload)

    async def restore_state(self, tenant: str, uri: str) -> bytes:
        """The payload of the snapshot a URI names.

        Raises:
            InvalidInput: It is no URI of this store, or not one of a snapshot.
            Forbidden: It is another tenant's, whether there is such a snapshot or not.
            NotFound: There is no such snapshot.
            Misconfigured: The snapshot was changed outside, or written with another secret; SchemaMismatch: by a version
                that promises something else.
        """
        key = uri_key(self._states.scheme, tenant, uri)
        if key is None:
            raise Forbidden("this snapshot belongs to another tenant")
        data = await self._states.load(tenant, key) if key.startswith(f"{_FOLDER}/") else None
        if data is None:
            raise NotFound(f"there is no snapshot {uri[:200]}")
        end = data.find(b"\n", 0, _HEADER_MOST)
        _check_contract(data[: max(end, 0)], uri)
        return data[end + 1 :]

    async def forget(self, tenant: str, state_id: str) -> bool:
        """Delete a snapshot. False if there was none."""
        return await self._states.clear(tenant, f"{_FOLDER}/{state_id}") > 0


def _check_contract(header: bytes, uri: str) -> None:
    try:
        read: Any = json.loads(header)
        contract = str(read["contract"])
    except (ValueError, TypeError, KeyError) as error:
        raise Misconfigured(f"{uri[:200]} holds no snapshot") from error
    if contract.partition(".")[0] != CONTRACT.partition(".")[0]:
        raise SchemaMismatch(f"snapshot {uri[:200]} is of contract {contract[:20]}; this version reads {CONTRACT}")
