"""HTML: what a person sees of it. Scripts, styles, comments and hidden text are left out, and hidden text is counted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.knowledge.parsers.base import Parsed
from quarterdeck.knowledge.parsers.compose import Composition
from quarterdeck.knowledge.parsers.front_matter import without_access_list
from quarterdeck.knowledge.parsers.text import decode

__all__ = ["parse"]

MAX_DEPTH = 500
MAX_RULES = 1_000  # rules of style sheets that are looked at

_NEVER_TEXT = frozenset(
    "script style template noscript head iframe object embed svg math canvas audio video select datalist textarea".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote body center dd details dialog div dl dt fieldset figcaption figure footer form header "
    "hr html legend li main nav ol p section summary td th tr ul".split()
)
_WHOLE = frozenset("h1 h2 h3 h4 h5 h6 pre table".split())
_LAYOUT = "table, h1, h2, h3, h4, h5, h6, pre"
_SPACES = re.compile(r"\s+")
_RULE = re.compile(r"([^{}]{1,500})\{([^{}]{0,2000})\}")
_STYLE_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_HIDES = re.compile(
    r"(?:^|[;\s])(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)|opacity\s*:\s*0*(?:\.0*)?\s*(?:%|!|;|\Z)"
    r"|font-size\s*:\s*0*(?:\.0*)?(?:px|pt|em|rem|%)?\s*(?:!|;|\Z)|(?:left|top|right|text-indent)\s*:\s*-\d{3,}"
    r"|color\s*:\s*transparent|clip-path\s*:\s*inset\(\s*(?:50|100)%)",
    re.IGNORECASE,
)


def parse(data: bytes) -> Parsed:
    """Read a page: its headings, paragraphs, lists, tables and code. Raises TooLarge if it is nested deeper than 500."""
    source = without_access_list(decode(data))  # as written: comments and line ends, where one may stand, do not stay
    page = LexborHTMLParser(source)
    if page.body is None:
        raise InvalidInput("the page has no body")
    made = Composition()
    title = page.css_first("head > title")
    made.title = title.text() if title is not None else ""
    left_out = _prune(page, page.body)
    _write(made, page.body)
    if left_out:
        made.warn(f"{left_out} hidden {'part was' if left_out == 1 else 'parts were'} left out")
    return made.finish()


def _prune(page: LexborHTMLParser, body: LexborNode) -> int:
    """Take out what nobody sees; how many parts of it had been text meant for somebody."""
    by_rules = _hidden_by_rules(page)
    unseen: list[LexborNode] = []
    hidden = 0
    stack: list[tuple[LexborNode, int]] = [(body, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise TooLarge(f"elements nested deeper than {MAX_DEPTH}")
        if node.tag in _NEVER_TEXT or node.is_comment_node:
            unseen.append(node)
        elif node.is_element_node and (node.mem_id in by_rules or _is_hidden(node)):
            hidden += bool(node.text().strip())
            unseen.append(node)
        else:
            stack += [(child, depth + 1) for child in _children(node)]
    for node in unseen:
        node.decompose()
    return hidden


def _is_hidden(node: LexborNode) -> bool:
    marks = node.attributes
    return (
        "hidden" in marks
        or (marks.get("aria-hidden") or "").lower() == "true"
        or _HIDES.search(marks.get("style") or "") is not None
    )


def _hidden_by_rules(page: LexborHTMLParser) -> frozenset[int]:
    """Elements that a style sheet of the page hides."""
    hidden: set[int] = set()
    sheets = "\n".join(_STYLE_COMMENT.sub("", sheet.text()) for sheet in page.css("style"))
    for number, rule in enumerate(_RULE.finditer(sheets)):
        if number == MAX_RULES:
            raise TooLarge(f"more than {MAX_RULES} style rules")
        if _HIDES.search(rule[2]):
            with contextlib.suppress(SelectolaxError):  # a selector of another age, which a browser passes over too
                hidden.update(node.mem_id for node in page.css(rule[1].strip()))
    return frozenset(hidden)


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.child
    while child is not None:
        yield child
        child = child.next


def _write(made: Composition, body: LexborNode) -> None:
    """Go through the tree in the order of the page; headings, table rows and code are taken whole."""
    words: list[str] = []
    stack: list[LexborNode | None] = [body]  # None: here a paragraph ends
    while stack:
        node = stack.pop()
        tag = "" if node is None else node.tag or ""
        if node is not None and node.is_text_node:
            words.append(_SPACES.sub(" ", node.text_content or ""))
        elif tag == "br":
            words.append("\n")
        elif node is None or tag in _BLOCKS or tag in _WHOLE:
            made.prose("".join(words))
            words.clear()
            if node is not None and not _take(made, node, tag):
                stack += [None, *reversed([*_children(node)])]
        else:
            stack += reversed([*_children(node)])
    made.prose("".join(words))


def _take(made: Composition, node: LexborNode, tag: str) -> bool:
    """Write an element that is taken whole; False if it is none."""
    if tag not in _WHOLE or (tag == "table" and len(node.css(_LAYOUT)) > 1):
        return False  # a table that holds more than cells arranges a page
    for end in node.css("br"):
        end.replace_with("\n")
    if tag == "pre":
        made.lines(node.text())
    elif tag == "table":
        rows = ([_SPACES.sub(" ", cell.text(separator=" ")).strip() for cell in _cells(row)] for row in node.css("tr"))
        made.lines("\n".join(" | ".join(row) for row in rows if any(row)))
    else:
        made.title = made.title or node.text()
        made.heading(int(tag[1]), node.text())
    return True


def _cells(row: LexborNode) -> Iterator[LexborNode]:
    return (cell for cell in _children(row) if cell.tag in ("td", "th"))
