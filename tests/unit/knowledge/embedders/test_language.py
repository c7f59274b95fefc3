"""Which text an embedder is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from quarterdeck.core.context import Context
from quarterdeck.knowledge.embedders.language import embeddable
from quarterdeck.models.embeddings import Embedded, Vector

CHINESE = "员工每年有十五天年假，须提前两周在系统中申请。"
MIXED = "The form for annual leave (年假) is found in the portal under Time and Absence, and HR answers within two days."


@dataclass(frozen=True, slots=True)
class Knowing:
    """An embedder of which only the languages are asked for."""

    languages: frozenset[str] | None
    id: str = "knowing"
    dim: int = 1

    async def embed(self, texts: Sequence[str], ctx: Context) -> Embedded:
        return Embedded(vectors=tuple[Vector, ...]())


@pytest.mark.row("K3", part="minilm")
@pytest.mark.parametrize(
    ("text", "languages", "embedded"),
    [
        (CHINESE, frozenset({"en"}), False),
        (CHINESE, frozenset({"en", "zh"}), True),
        (CHINESE, None, True),
        (MIXED, frozenset({"en"}), True),
        ("VPN 连接失败时请重新启动客户端", frozenset({"en"}), False),
        ("The rule in Chinese: " + CHINESE, frozenset({"en"}), False),
        ("12.5 %", frozenset({"en"}), True),
        (" \n", None, False),
        ("", frozenset({"en"}), False),
    ],
)
def test_text_is_embedded_in_languages_the_embedder_knows(
    text: str, languages: frozenset[str] | None, embedded: bool
) -> None:
    assert embeddable(text, Knowing(languages)) is embedded
