from __future__ import annotations

from pathlib import Path

import pytest

from quarterdeck.core.errors import Misconfigured
from quarterdeck.settings.load import load


def folder(path: Path, synonyms: str | None) -> Path:
    (path / "agents").mkdir()
    (path / "agents" / "one.yaml").write_text("name: one\n", encoding="utf-8")
    (path / "quarterdeck.yaml").write_text("knowledge:\n  synonyms: words.yaml\n", encoding="utf-8")
    if synonyms is not None:
        (path / "words.yaml").write_text(synonyms, encoding="utf-8")
    return path


def test_groups_of_all_languages_are_read(tmp_path: Path) -> None:
    text = "en:\n  - [laptop, notebook]\nzh:\n  - [年假, PTO]\nacross:\n  - [VPN, 内网]\n"

    assert load(folder(tmp_path, text), {}).synonyms == (("laptop", "notebook"), ("年假", "PTO"), ("VPN", "内网"))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("en:\n  - [laptop, notebook]\n  - [laptop]\n", 3, "at least 2"),
        ("en:\n  - [laptop, 电脑]\n", 2, "not an English word"),
        ("en:\n  - [laptop, Laptop]\n", 2, "twice"),
        ("zh:\n  - [年假, '—']\n", 2, "no word in it"),
        ("fr:\n  - [un, deux]\n", 1, "fr"),
        ("en:\n  - [leave, a long story of many words]\n", 2, "at most 4 words"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        load(folder(tmp_path, text), {})

    assert f"words.yaml:{line}" in str(caught.value)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"knowledge\.synonyms: there is no file"):
        load(folder(tmp_path, None), {})
