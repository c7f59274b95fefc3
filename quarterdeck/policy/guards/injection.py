"""A guard that finds signs of a text that tells a model what to do, where texts are material.

They are signals. Much of what an attacker can write reads like anybody's sentence, and none of these is found in it: what
keeps an obedient model from harm is the label of the text, not this. What is found is worth a look.

Texts are compared in compatibility form, without invisible characters, and with letters of other scripts that look like
Latin ones read as these.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib.resources import files

from quarterdeck.policy.guards.base import About, Finding
from quarterdeck.policy.guards.patterns import Together

__all__ = ["Injection"]

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]"
)
_TAGS = re.compile("[\U000e0000-\U000e007f]")
_MANY = 8  # invisible characters: joined emoji and Persian have some
_ALIKE = str.maketrans("аеіорсухԁһѕјӏАВЕНІКМОРСТХαεινορτυχΑΒΕΖΗΙΚΜΝΟΡΤΧ", "aeiopcyxdhsjlABEHIKMOPCTXaeivoptuxABEZHIKMNOPTX")


def _signs() -> Mapping[str, str]:
    """The pattern of each sign, as the list that comes along says."""
    lists: dict[str, str] = {}
    signs: dict[str, list[str]] = {}
    for line in files(__package__).joinpath("words", "signs.txt").read_text(encoding="utf-8").splitlines():
        name, _, pattern = line.partition(" ")
        if name.startswith("{"):
            lists[name] = pattern
        elif name and name != "#":
            for each, words in lists.items():
                pattern = pattern.replace(each, words)
            signs.setdefault(name, []).append(pattern)
    return {name: f"(?i){'|'.join(ways)}" for name, ways in signs.items()}


class Injection:
    """Signs of instructions to a model. A finding is the whole text: nobody knows where an instruction ends.

    Needs RE2, as the signs are looked for in everything that comes in.
    """

    name = "injection"

    def __init__(self) -> None:
        self._signs = Together(_signs())

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        return [Finding(f"{self.name}.{sign}", 0, len(text)) for sign in self.signs(text)]

    def signs(self, text: str) -> list[str]:
        """Which signs `text` has."""
        plain = text
        found: list[str] = []
        if not text.isascii():
            if _TAGS.search(text) or len(_INVISIBLE.findall(text)) > _MANY:
                found.append("hidden")
            plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_ALIKE)
        return found + self._signs.found(plain)
