"""The page of ten prompts is what the server really answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPO = Path(__file__).parents[2]
EXAMPLE = REPO / "examples" / "support_desk"


@pytest.mark.row("P3", part="ten prompts")
def test_the_page_of_ten_prompts_is_what_a_fresh_server_answers(tmp_path: Path) -> None:
    page = tmp_path / "ten-prompts.md"

    subprocess.run([sys.executable, str(EXAMPLE / "ask_all.py"), str(page)], check=True, timeout=120)

    assert page.read_text() == (REPO / "docs" / "ten-prompts.md").read_text(), "run `make prompts`"


@pytest.mark.row("P3", part="ten prompts")
def test_every_prompt_was_answered_as_it_should_be() -> None:
    prompts = yaml.safe_load((EXAMPLE / "prompts.yaml").read_text())["prompts"]
    sections = (REPO / "docs" / "ten-prompts.md").read_text().split("\n## ")[1:]

    assert len(sections) == len(prompts) == 10
    for prompt, section in zip(prompts, sections, strict=True):
        expected = prompt["expect"]
        answer = "\n".join(line for line in section.splitlines() if line.startswith(">"))
        for text in expected.get("contains", []):
            assert text in answer, (prompt["id"], text)
        for document in expected.get("sources", []):
            assert f"`{document}-" in section, (prompt["id"], document)
        for tool in expected["tools"]:
            assert tool in section.split("- tools: ")[1].splitlines()[0], (prompt["id"], tool)
        if expected.get("refuses"):
            assert "sources: none" in section, prompt["id"]
        assert f"- drafts: {expected.get('drafts', 0)}" in section, prompt["id"]
