"""The ``policy`` section: when the policy file is read again. What it says stands in ``policy.yaml``."""

from __future__ import annotations

from pydantic import Field

from quarterdeck.settings.sections import Seconds, Section

__all__ = ["PolicySettings"]


class PolicySettings(Section):
    """When `policy.yaml` is read again."""

    reload_s: Seconds | None = Field(
        0.5,
        description="Seconds between two looks at the file; a changed one holds for calls decided from then on, a wrong one "
        "changes nothing. null reads it at the start only.",
    )
