"""A document as a page for people, with a place in it marked. Its text is shown as text, whatever it pretends to be."""

from __future__ import annotations

from html import escape

from starlette.responses import Response

from quarterdeck.core.text import without_hidden
from quarterdeck.knowledge.base import Document

__all__ = ["document_page", "prefers_page"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
pre { font: inherit; white-space: pre-wrap; overflow-wrap: anywhere; }
mark { background: #ffe58a; scroll-margin: 30vh; }
p { color: #555; }
"""
_HEADERS = {
    # Nothing is loaded and nothing runs: all there is on the page is its text and its style.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
}


def prefers_page(accept: str) -> bool:
    """True for a browser, which asks for HTML by name; programs get JSON."""
    wanted = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return "text/html" in wanted and "application/json" not in wanted


def document_page(document: Document, place: tuple[int, int] | None, headings: tuple[str, ...]) -> Response:
    """The page, which opens at `place` if the address ends in ``#place``."""
    start, end = place or (0, 0)
    text = document.text
    marked = f'<mark id="place">{_shown(text[start:end])}</mark>' if place else ""
    path = " › ".join(headings)
    html = (
        '<!doctype html>\n<html><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_shown(document.title)}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{_shown(document.title)}</h1>\n"
        f"<p>Edition {document.edition}{f' · {_shown(path)}' if path else ''}</p>\n"
        f"<pre>{_shown(text[:start])}{marked}{_shown(text[end:])}</pre>\n</body></html>\n"
    )
    return Response(html, media_type="text/html; charset=utf-8", headers=_HEADERS)


def _shown(text: str) -> str:
    return escape(without_hidden(text))
