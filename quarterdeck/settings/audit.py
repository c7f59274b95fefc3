"""The ``audit`` section: where the end of the audit log is kept a second time, signed."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from quarterdeck.settings.sections import Seconds, Section

__all__ = ["AuditSettings"]


class AuditSettings(Section):
    """Signed checkpoints of the audit log."""

    checkpoints_url: SecretStr | None = Field(
        None,
        description="Where they are kept, outside of the database: file:///FILE (four slashes: absolute), "
        "s3://BUCKET/PREFIX and what else store.state_url takes, or stdout:// for what is printed. None: there are none.",
    )
    key_file: Path | None = Field(
        None,
        description="Ed25519 key in PEM, relative to the folder; made at first start. None: audit.key of the data folder.",
    )
    interval_s: Seconds = Field(60.0, description="Seconds after which a new row is covered by one.")
    every_rows: int = Field(1000, ge=1, le=1_000_000, description="Rows after which that happens earlier.")
