"""Text that is checked while it is made: what could still become something that must not be said is held back.

What is released is what the whole text would have been redacted to. It ends where a word ends, and before anything that may
still grow: a number of several groups, a tag or a key that is not closed, a word after which a credential is expected. What
is held back is bounded; a text that reaches the bound is not released piece by piece any more.
"""

from __future__ import annotations

import re

from quarterdeck.core.text import has_cjk
from quarterdeck.policy.guards.base import About, Ruling
from quarterdeck.policy.guards.chain import Chain, Hit, redacted
from quarterdeck.policy.guards.links import LOADING_TAGS

__all__ = ["MAX_HELD", "Window"]

MAX_HELD = 4_096  # characters; the longest private key in use has 3,300
_GROUPS = 24  # of a number: no account has more
_SPACE = re.compile(r"[\s\ufeff]")
_SPACES = (  # all that is one
    " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029"
    "\u202f\u205f\u3000\ufeff"
)
_NUMERIC = re.compile(r"(?:[\d０-９][+()（）./\-]{0,4}|(?<![A-Za-z0-9])[A-Z0-9]{4})$")
_EXPECTS = re.compile(
    r"(?:\][(:]<?|(?<![A-Za-z0-9])url\([\"']?|^[\"']|[:=]|bearer|basic|secret_?access_?key['\"\\]{0,3})$", re.IGNORECASE
)
_TAG_BEGINS = re.compile(rf"<(?:{LOADING_TAGS})?(?![A-Za-z0-9])|<[a-z]{{0,8}}$", re.IGNORECASE)
_TAG = re.compile(r"<(?:\"[^\"]*\"|'[^']*'|[^<>\"'])*>")
_KEY_BEGINS = "-----BEGIN "
_KEY_ENDS = re.compile(r"-----END [A-Z ]{0,50}-----")


class Window:
    """One text as it grows.

    Args:
        reach: Characters that are always held back, for patterns of which nobody knows how far they reach.

    Attributes:
        closed: Nothing is released any more; the settled text says the rest.
    """

    def __init__(self, chain: Chain, about: About, *, reach: int = 0, closed: bool = False) -> None:
        self.closed = closed
        self._chain = chain
        self._about = about
        self._reach = reach
        self._held = ""

    async def feed(self, piece: str) -> str:
        """What of the text so far can be released."""
        if self.closed:
            return ""
        self._held += piece
        cut = _settled(self._held, len(self._held) - self._reach)
        if cut > 0:
            return await self._release(cut)
        self.closed = len(self._held) > MAX_HELD
        return ""

    async def finish(self) -> str:
        """The rest, as nothing will follow."""
        return "" if self.closed else await self._release(len(self._held))

    async def _release(self, cut: int) -> str:
        hits = await self._chain.find(self._held, self._about)
        if any(hit.ruling is Ruling.BLOCK for hit in hits):
            self.closed = True
            return ""
        if cut < len(self._held):
            cut = _outside(self._held, cut, hits)
        released, self._held = self._held[:cut], self._held[cut:]
        self.closed = len(self._held) > MAX_HELD
        return redacted(released, [hit for hit in hits if hit.finding.end <= cut])


def _outside(text: str, cut: int, hits: tuple[Hit, ...]) -> int:
    """The last place up to `cut` that lies in no finding which is to be redacted."""
    spans = [hit.finding for hit in hits if hit.ruling is Ruling.REDACT]
    while (within := next((one for one in spans if one.start < cut < one.end), None)) is not None:
        cut = _settled(text, within.start)
    return cut


def _settled(text: str, cut: int) -> int:
    """The last place up to `cut` behind which something new begins, whatever will follow `text`."""
    for tag in _TAG_BEGINS.finditer(text, 0, max(cut, 0)):
        if _TAG.match(text, tag.start()) is None:
            cut = min(cut, tag.start())
            break
    key = text.rfind(_KEY_BEGINS)
    if key >= 0 and _KEY_ENDS.search(text, key) is None:
        cut = min(cut, key)
    cut = far = _word_end(text, cut)
    for groups in range(2 * _GROUPS):
        begins, last = _word_before(text, cut)
        if not last or not (_NUMERIC.search(last) or _EXPECTS.search(last)):
            return cut
        cut = begins
        if groups < _GROUPS:
            far = cut
    # A table of numbers: far from its beginning and its end there is no account, but perhaps what expects a credential.
    begins, last = _word_before(text, far)
    while _EXPECTS.search(last):
        begins, last = _word_before(text, far := begins)
    return far


def _word_before(text: str, cut: int) -> tuple[int, str]:
    """Where the last word before `cut` begins, and the word; empty if there is none."""
    word = text[:cut].rstrip(_SPACES)
    begins = _word_end(word, len(word) - 1)
    return begins, word[begins:]


def _word_end(text: str, cut: int) -> int:
    """The last place up to `cut` that lies behind a space, or between two words of Chinese."""
    if text.isascii():
        return 1 + max(text.rfind(space, 0, max(cut, 0)) for space in " \n\t\r\v\f")
    while cut > 0:
        before = text[cut - 1]
        if _SPACE.match(before):
            return cut
        if has_cjk(before):
            space = max(text.rfind(" ", 0, cut), text.rfind("\n", 0, cut))
            if not any(sign in text[space + 1 : cut] for sign in ("/", "www.", "](", "]:", "<")):
                return cut
        cut -= 1
    return 0
