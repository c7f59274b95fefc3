"""What the pages show of ``quarterdeck.yaml`` can be loaded as it stands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from quarterdeck.settings import Settings, load

DOCS = Path(__file__).parents[3] / "docs"
SECTIONS = {*Settings.model_fields, "profiles"}


def shown() -> list[object]:
    """The YAML of all pages whose first keys are those of the file; other files have others."""
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        blocks = re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for number, block in enumerate(map(textwrap.dedent, blocks)):
            if SECTIONS.issuperset(re.findall(r"^([a-z_]+):", block, re.MULTILINE)):
                found.append(pytest.param(block, id=f"{page.stem}-{number}"))
    return found


@pytest.mark.parametrize("block", shown())
def test_what_a_page_shows_of_the_configuration_is_one(tmp_path: Path, block: str) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "desk.yaml").write_text("model: simulated\n")
    (tmp_path / "quarterdeck.yaml").write_text(block)

    loaded = load(tmp_path, {"LLM_MODE": "local"})

    assert list(loaded.agents) == ["desk"]


def test_most_pages_show_some() -> None:
    assert len(shown()) > 15
