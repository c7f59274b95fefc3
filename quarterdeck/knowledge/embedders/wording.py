"""What of a passage an embedder reads."""

from __future__ import annotations

from quarterdeck.knowledge.base import Chunk

__all__ = ["WORDING", "worded"]

WORDING = "title+headings+text/1"  # changes whenever `worded` does: what was embedded in other words is embedded again


def worded(title: str, chunk: Chunk) -> str:
    """The passage with the title and the headings it stands under, as the words' side of an index has it.

    A piece of a document seldom says again what it is about. On Cranfield, where the text begins with its title anyway, this
    raises nDCG@10 from 0.500 to 0.506 by vectors, and from 0.566 to 0.568 by words and vectors.
    """
    return "\n".join((*dict.fromkeys(filter(None, (title, *chunk.heading_path))), chunk.text))
