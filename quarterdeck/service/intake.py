"""What a person typed, before it becomes part of a run."""

from __future__ import annotations

import re
import unicodedata

from quarterdeck.core.errors import InvalidInput

__all__ = ["cleaned"]

# Control characters but tab and line ends; bidirectional controls, which show a text in another order than the model reads
# it; tag characters, which nobody sees.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
_NOTHING = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters by category, and drawn as nothing


def cleaned(text: str, what: str = "message") -> str:
    """`text` without characters that a reader cannot see and a model can.

    Raises:
        InvalidInput: Nothing visible is left.
    """
    kept = _HIDDEN.sub("", text)
    if all(character in _BLANK or unicodedata.category(character) in _NOTHING for character in kept):
        raise InvalidInput(f"{what} is empty")
    return kept
