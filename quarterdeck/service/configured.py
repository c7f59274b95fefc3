"""What a deployment is configured to do, as the audit log knows it: a row whenever it begins with something else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from quarterdeck.core.errors import Conflict
from quarterdeck.core.ids import content_hash
from quarterdeck.store.base import Audit, Put, Record, Records

__all__ = ["KIND", "told_configuration"]

KIND = "configuration"
_ID = "current"


async def told_configuration(records: Records, tenants: Iterable[str], parts: Mapping[str, Any]) -> None:
    """Write down which parts of the configuration differ from the last start, for each tenant, in its audit log.

    Only hashes are kept: what a part says may hold what not everybody who reads the log should know.

    Args:
        parts: JSON values by name, such as settings, agents, policy, users.
    """
    hashes = {name: content_hash(value) for name, value in parts.items()}
    for tenant in sorted(tenants):
        before = await records.get(tenant, KIND, _ID)
        known = {} if before is None else before.data
        changed = sorted(name for name in hashes.keys() | known.keys() if hashes.get(name) != known.get(name))
        if not changed:
            continue
        audit = Audit(
            actor="service:configuration",
            subject="",
            action="config",
            object=",".join(changed),
            decision="first" if before is None else "changed",
            args_hash=content_hash(hashes),
        )
        put = Put(record=Record(kind=KIND, id=_ID, data=hashes), expect=0 if before is None else before.version)
        try:
            await records.write(tenant, [put, audit])
        except Conflict:  # another process began with it just now, and told of it
            continue
