"""Ids that our own system gave to the one thing the user's words named.

"Reschedule my dental check-up" names an entry and not its id. Where the user's words are looked up and one entry is found,
its id is as good as typed. Only fields the system fills count: whoever writes an entry chooses its title, never its id.
Where two are found nobody knows which was meant: somebody may have added one to be mistaken for the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

__all__ = ["only_ids"]


def only_ids(text: str, fields: Iterable[str]) -> tuple[str, ...]:
    """The values of `fields` in a result that is one object, or a list of one; nothing where it is more, less or no JSON."""
    try:
        found: Any = json.loads(text)
    except ValueError:
        return ()
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return ()
    values = (found.get(field) for field in fields)
    return tuple(
        str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    )
