"""Ids that our own system gave to the one thing the user's words named.

"Reschedule my dental check-up" names an entry and not its id. Where the user's words are looked up and one entry is found,
its id is as good as typed. Only fields the system fills count: whoever writes an entry chooses its title, never its id.
Where two are found nobody knows which was meant: somebody may have added one to be mistaken for the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quarterdeck.policy.fields import parsed

__all__ = ["only_ids"]


def only_ids(text: str, fields: Mapping[str, str]) -> dict[str, str]:
    """The ids in a result that is one object, or a list of one; nothing where it is more, less or no JSON.

    Args:
        fields: Field of the result → the argument its id is for.

    Returns:
        Argument → id.
    """
    found = parsed(text)
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return {}
    values = {argument: found.get(field) for field, argument in fields.items()}
    return {argument: str(value) for argument, value in values.items() if _is_id(value)}


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
