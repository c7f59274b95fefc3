"""The examples of docs/howto/state.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from quarterdeck.settings import load
from quarterdeck.store.keyvalue_s3 import S3KeyValue

PAGE = (Path(__file__).parents[3] / "docs" / "howto" / "state.md").read_text("utf-8")


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.row("L3", part="guide")
def test_the_python_of_the_guide_runs_from_top_to_bottom(tmp_path: Path) -> None:
    script = tmp_path / "guide.py"
    script.write_text("\n".join(examples("python")), encoding="utf-8")

    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "folder://acme/agents/a1/memory",
        "b'second' None",
        "b'second' None",
        "1 0",
        "folder://acme/snapshots/agents/a1 b'all I know'",
    ]


async def test_the_addresses_of_the_guide_are_some(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "desk.yaml").write_text("instructions: Help.\n")
    (tmp_path / "quarterdeck.yaml").write_text("".join(examples("yaml")))

    configured = load(tmp_path, {}).settings.store.state_url

    assert configured is not None
    for url in (configured.get_secret_value(), *re.findall(r"^s3://\S+$", PAGE, re.MULTILINE)):
        await S3KeyValue.open(url, secret=b"secret")
