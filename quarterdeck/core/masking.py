"""Taking credentials out of what is written down or told: known ones by value, the rest by what they look like."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

__all__ = ["MASK", "Mask"]

MASK = "[secret]"

_SHORTEST = 6  # of a known secret: a shorter one, such as "any", is a part of ordinary words

# What credentials of common services look like. Where a form has a group, the group is the secret. No form can be begun at
# many places of a text and be followed far from each: what is masked may be written by an attacker.
_FORMS = re.compile(
    r"""\b(?:
        qd_[0-9a-f]{32,}                                          # our own
        |q[ks]_[a-z0-9_-]{1,64}\.[a-z0-9_-]{1,64}\.[0-9a-f]{64}     # keys people made, tokens of streams
        |whsec_(?=[\w+/-]{0,90}[0-9+/])[\w+/-]{16,90}={0,2}          # of webhooks
        |(?:sk|pk|rk)-(?:(?=[\w.-]{0,64}[0-9*])[\w*.-]{7,}[\w*-]|[A-Za-z]{16,}[\w-]*)  # OpenAI, Anthropic, also half hidden
        |(?:sk|pk|rk)_(?:(?:live|test)_)?(?=\w{0,64}[0-9])\w{16,} # Stripe
        |gh[oprsu]_\w{16,}|github_pat_\w{20,}|glpat-[\w-]{16,}        # GitHub, GitLab
        |xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}                          # Slack
        |hf_[A-Za-z0-9]{16,}|npm_[A-Za-z0-9]{20,}|pypi-[\w-]{16,}     # Hugging Face, npm, PyPI
        |AIza[\w-]{30,}|ya29\.[\w.-]{16,}                             # Google
        |A[BKS][ICS]A[A-Z0-9]{16}\b                                   # AWS: the name of a key, and the key beside its name
    )
    |(?i:secret_?access_?key)['"\\]{0,3}\s{0,3}[:=]\s{0,3}['"\\]{0,3}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])
    |(?<![\w-])eyJ[\w-]{6,}\.[\w-]*\.[\w-]*(?:\.[\w-]+){0,2}          # JSON web tokens
    |(?i:\bbearer)\s{1,3}((?=[A-Za-z]{0,64}[0-9._~+/-]+\w)[\w.~+/-]{6,}=*|[A-Za-z]{16,})
    |(?i:\bbasic)\s{1,3}((?=[A-Za-z]{0,64}(?:[0-9+/=]|[a-z][A-Z]))[A-Za-z0-9+/]{8,}={0,2})
    |(?<=://)[^/\s:@]*:[^/\s@]+(?=@)                                  # passwords in URLs
    |-----BEGIN\ [A-Z\ ]{0,40}PRIVATE\ KEY[A-Z\ ]{0,9}-----(?s:.*?)(?:-----END\ [A-Z\ ]{0,50}-----|\Z)  # PEM, also cut
    """,
    re.VERBOSE | re.ASCII,  # what stands beside them: Chinese has no space there
)


class Mask:
    """Puts `MASK` in place of credentials, wherever they stand in texts, JSON values, and texts that come in pieces."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """
        Args:
            secrets: Known ones, masked whatever they look like if they have at least six characters.
        """
        known = {secret for secret in secrets if len(secret) >= _SHORTEST}
        known |= {json.dumps(secret)[1:-1] for secret in known}  # as it stands in JSON within a text: a call's arguments
        longest_first = sorted(known, key=len, reverse=True)  # one may begin like another
        self._known = re.compile("|".join(map(re.escape, longest_first))) if known else None

    def text(self, text: str) -> str:
        """`text` without credentials."""
        return self.pieces((text,))[0]

    def value(self, value: Any) -> Any:
        """A JSON value without credentials in its texts and names."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {self.text(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case _:
                return value

    def pieces(self, pieces: Sequence[str]) -> list[str]:
        """`pieces` of one text without credentials, also those that a border cuts: the mask stands where they begin."""
        borders = [0, *accumulate(map(len, pieces))]
        spans = _merged(self._spans("".join(pieces)))
        if len(pieces) > 1:  # what is one by itself need not look like one behind what came before
            alone = (
                (start + at, end + at)
                for at, piece in zip(borders, pieces, strict=False)
                for start, end in self._spans(piece)
            )
            spans = _merged((*spans, *alone))
        if not spans:
            return list(pieces)
        ends = [last for _, last in spans]
        kept = []
        for piece, (start, end) in zip(pieces, pairwise(borders), strict=True):
            reaching = spans[bisect_right(ends, start) : bisect_left(spans, (end, 0))]
            kept.append(_without(piece, start, end, reaching))
        return kept

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where credentials stand in `text`, in order."""
        return _merged(self._spans(text))

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        if self._known is not None:
            yield from (found.span() for found in self._known.finditer(text))
        yield from (found.span(found.lastindex or 0) for found in _FORMS.finditer(text))


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """`spans` in order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(piece: str, start: int, end: int, spans: Sequence[tuple[int, int]]) -> str:
    """`piece`, which stands from `start` to `end` of the whole text, without the parts in `spans`, which reach into it."""
    kept = []
    at = start
    for first, last in spans:
        kept.append(piece[at - start : max(first, at) - start])
        if first >= at:
            kept.append(MASK)
        at = min(last, end)
    kept.append(piece[at - start :])
    return "".join(kept)
