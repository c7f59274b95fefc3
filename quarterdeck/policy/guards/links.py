"""A guard that finds links and images by which a text could carry something to a foreign host, or lead there.

A link may stay if its host is on the list of the deployment, or the whole of it stands in trusted text: what the user typed
he may be shown, and nothing can be hidden in it. Of any other the host is shown, so that a person sees that there was one,
in a form that nothing makes a link of: ``⟨ host[.]example ⟩``. In Markdown that is no destination, because of its spaces.

Destinations are read as browsers read them: after character references and Markdown's backslashes are resolved, with
``\\`` for ``/``, without tabs and line ends. ``https:host`` and ``//host`` lead to a host as well.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from quarterdeck.policy.grounding import host_of
from quarterdeck.policy.guards.base import About, Finding

__all__ = ["LOADING_TAGS", "Links"]

LOADING_TAGS = (
    "a|area|audio|base|body|button|embed|form|frame|iframe|image|img|input|link|math|meta|object|picture|script|source|style"
    "|svg|table|td|track|use|video"
)
_BARE = re.compile(
    r"(?<![A-Za-z0-9+.-])(?:[A-Za-z][A-Za-z0-9+.-]{1,30}:[/\\]{1,4}(?=[^\s/\\])|www\.(?=[^\s.]))[^\s<>\"`\u3000-\u303f\uff00-\uff0e]+"
)
# However much space stands before it: some renderers take a no-break space for one, too.
_DESTINATION = re.compile(
    r"\][(:][\s\ufeff]*<?([^\s\ufeff<>)]+)"
    r"|<([A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]+)>"
    r"|(?<![A-Za-z0-9])url\(\s*[\"']?\s*([^\s\"'<>)]+)",  # of a style, which any tag may have
    re.IGNORECASE,
)
_TAG = re.compile(rf"<(?:{LOADING_TAGS})\b(?:\"[^\"]*\"|'[^']*'|[^<>\"'])*>", re.IGNORECASE)
_VALUE = re.compile(r"=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'>]+)|url\(([^)]*)\)", re.IGNORECASE)
_LEADS_OUT = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:)?[/\\]{2}|(?:https?|wss?|ftp|file|data|javascript|vbscript|blob|mailto|tel|sms):", re.IGNORECASE
)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_IGNORED = re.compile(r"[\x00-\x20\x7f]")
_TRAILING = ".,;:!?)]}'*_~|。，；：！？）」』】"


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Links that are neither allowed nor grounded.

    Attributes:
        allow: Hosts a link may lead to whatever else it says, as patterns: ``corp.example``, ``*.corp.example``.
    """

    allow: tuple[str, ...] = ()
    name: str = "links"

    async def find(self, text: str, about: About) -> Sequence[Finding]:
        if ":" not in text and "//" not in text and "www." not in text and "](" not in text and "<" not in text:
            return ()
        return [
            Finding(self.name, start, end, _shown(leads_to))
            for start, end, leads_to in _links(text)
            if not all(self._may(one, about) for one in leads_to)
        ]

    def _may(self, address: str, about: About) -> bool:
        host = host_of(address if "://" in address else f"https://{address}")
        if host is not None and any(fnmatchcase(host, pattern) for pattern in self.allow):
            return True
        return about.trusted().holds(address)


def _links(text: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Span of each link, and where it leads."""
    for tag in _TAG.finditer(text):
        values = [html.unescape(quoted.strip("\"'") or styled) for quoted, styled in _VALUE.findall(tag[0])]
        out = tuple(part for value in values for part in re.split(r"[\s,]+", value) if _LEADS_OUT.search(part))
        if out:
            yield tag.start(), tag.end(), out
    for found in _DESTINATION.finditer(text):
        place = found.lastindex or 0
        written = _IGNORED.sub("", html.unescape(found[place]))
        out = tuple(read for read in (_ESCAPED.sub(r"\1", written), written) if _LEADS_OUT.match(read))
        if out:
            yield found.start(place), found.end(place), tuple(read.rstrip(_TRAILING) for read in out[:1])
    for found in _BARE.finditer(text):
        written = _closed(found[0])
        yield found.start(), found.start() + len(written), (written,)


def _closed(written: str) -> str:
    """A bare link without the punctuation behind it; a bracket that closes one of its own stays."""
    end, closing = len(written), written.count(")") - written.count("(")
    while end and written[end - 1] in _TRAILING:
        if written[end - 1] == ")":
            if closing <= 0:
                break
            closing -= 1
        end -= 1
    return written[:end]


def _shown(addresses: Sequence[str]) -> str:
    hosts = dict.fromkeys(filter(None, map(_host, addresses)))
    return f"⟨ {' '.join(hosts).replace('.', '[.]') or '…'} ⟩"


def _host(address: str) -> str:
    read = address.replace("\\", "/")
    read = read if "//" in read else f"//{read.partition(':')[2] or read}"
    try:
        return (urlsplit(read).hostname or "")[:80]
    except ValueError:
        return ""
