"""Which text an embedder can make sense of."""

from __future__ import annotations

from quarterdeck.core.text import has_cjk, terms
from quarterdeck.models.embeddings import Embedder

__all__ = ["embeddable"]

_CJK_LANGUAGES = frozenset({"ja", "ko", "zh"})


def embeddable(text: str, embedder: Embedder) -> bool:
    """Whether a vector of `text` would say what it is about.

    Not if the text is empty, nor if most of its terms are Chinese, Japanese or Korean and the embedder knows none of these:
    its vectors of them are noise, which finds the wrong passages. Such text is found by its words.
    """
    if not text.strip():
        return False
    if embedder.languages is None or embedder.languages & _CJK_LANGUAGES or not has_cjk(text):
        return True
    words = terms(text)
    return 2 * sum(map(has_cjk, words)) < len(words)
