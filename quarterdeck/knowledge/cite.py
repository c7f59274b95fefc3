"""Citations: the marks a model leaves behind its sentences, resolved to passages and checked against them.

A model writes ``[passage-id]`` behind a sentence, before or after its full stop; ``[a-1][b-2]``, ``[a-1, b-2]``,
``[[a-1]]``, ``[source: a-1]``, ``【a-1】`` and ``［a-1］`` are read too. For a person they become ``[1]``, ``[2]`` in order
of first citation. What looks like a mark and names no retrieved passage is forged: it is taken out and reported, and so is
a bare number, which would pass for a resolved mark. A link that shows nothing but a mark is read as that mark. Other text
in brackets, other links and code stay as they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from quarterdeck.core.answers import Citation, Passage
from quarterdeck.knowledge.analyze import statements, topic_terms
from quarterdeck.knowledge.entail import ENOUGH, contradicts, differs, support

__all__ = ["Cited", "Statement", "nothing_found", "resolve", "without", "words_of"]

_ONE = r"[A-Za-z0-9_\-\uff10-\uff19\u200b-\u200d\u2010\u2011\u2060\ufeff]{1,80}"
_MARK = re.compile(
    r"\\?(?P<double>\[(?=\[))?[\[【［〔]\s*(?:(?:source|passage|ref|id|来源|出处|参考)s?\s*[:：]\s*|[#^])?"
    rf"(?P<names>{_ONE}(?:\s*[,，、;；]\s*{_ONE})*)(?:†[^\]】\n]{{0,40}})?\s*\\?[\]】］〕](?(double)\])"
    r"(?P<link>\((?:[^()\n]|\([^()\n]*\))*\))?",
    re.IGNORECASE,
)
_SPELLINGS = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff")) | dict.fromkeys(map(ord, "\u2010\u2011"), "-")
_BETWEEN = re.compile(r"\s*[,，、;；]\s*")
_LIKE_AN_ID = re.compile(r"(?:[a-z0-9_-]{1,64}-\d{1,9}|\d{1,3})\Z")
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`", re.DOTALL)
_CLOSING = re.compile(r"\s*[.!?。！？；]")

_ITEM = re.compile(r"\s*(?:[-*+•>]|\d{1,3}[.)])\s+")
# Sentences that claim nothing of the world: courtesy, and saying that nothing was found. A greeting excuses only itself, so
# that "Sure, the code is 1234." stays a claim.
_GREETING = re.compile(
    # Begins only behind a word: from each of many marks in a row it would take quadratic time.
    r"(?<!\W)\W*(?:hello|hi|hey|good (?:morning|afternoon|evening)|thanks|thank you|you(?:'|’)re welcome|sure|certainly"
    r"|of course|(?:i(?:['’]m| am) )?sorry|happy to help|你好|您好|谢谢|感谢|不客气|抱歉|好的|当然)\b\W*",
    re.IGNORECASE,
)
_FAREWELL = re.compile(
    r"\W*(?:(?:please )?let me know|i hope (?:this|that) helps|(?:please )?feel free to ask"
    r"|希望.{0,8}帮助|如有.{0,8}(?:问题|疑问|需要)"
    r"|如果您?你?还?有.{0,8}(?:问题|疑问|需要))",
    re.IGNORECASE,
)
_NOTHING_FOUND = re.compile(
    r"\b(?:i|we)\b.{0,12}?(?:\bnot\b|n['’]t\b|\bno\b).{0,24}?\b(?:find|found|know|information|answer|locate|sure|certain)\b"
    r"|\b(?:i|we) found (?:nothing|no)\b"
    r"|\b(?:nothing|no (?:relevant |matching )?(?:passages?|documents?|information|results?|articles?|answers?))\b.{0,40}?"
    r"\b(?:found|retrieved|matche[sd])\b"
    r"|\b(?:passages?|documents?|sources?|knowledge base)\b.{0,30}?\b(?:do|does|did)\s*(?:not|n['’]t)\s+"
    r"(?:answer|contain|mention|cover|say|include)\b"
    r"|(?:没有?|未能?|无法)(?:找到|查到|检索到|回答)|没有.{0,4}(?:资料|信息|答案)|找不到|查不到|我不知道|我不清楚",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A sentence of the answer.

    Attributes:
        before: White space that stood before it.
        pieces: Its text; a tuple among them is a mark that stood there, with the ids of the passages it names.
    """

    before: str
    pieces: tuple[str | tuple[str, ...], ...]

    @property
    def sentence(self) -> str:
        """The sentence without its marks and without the bullet or number of a list item."""
        text = ""
        for piece in self.pieces:
            if isinstance(piece, str):
                text = (text.rstrip() if _CLOSING.match(piece) else text) + piece
        return _ITEM.sub("", text, count=1).strip() if _ITEM.match(text) else text.strip()

    @property
    def passages(self) -> tuple[str, ...]:
        """Ids of the passages it cites, in order, each once."""
        return tuple(dict.fromkeys(one for piece in self.pieces if not isinstance(piece, str) for one in piece))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """An answer whose citations are resolved. Sentences are without marks.

    Attributes:
        text: For a person: ``[1]`` is the first of `sources`.
        citations: One for each sentence and passage it cites, the unsupported ones too.
        sources: Ids of the cited passages, in order of first citation.
        unknown: Marks that name no retrieved passage.
        unsupported: Cited sentences that their passages do not bear out.
        confirmed: Cited sentences of which a model says that their passages bear them out.
        uncited: Sentences that claim something and cite nothing.
    """

    text: str
    statements: tuple[Statement, ...] = ()
    citations: tuple[Citation, ...] = ()
    sources: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()
    uncited: tuple[str, ...] = ()


def resolve(text: str, passages: Mapping[str, Passage], verdicts: Mapping[str, bool] | None = None) -> Cited:
    """Read the marks of `text` and check each sentence against the passages it cites.

    Args:
        passages: What this run retrieved, by id. Nothing else can be cited.
        verdicts: By sentence, whether a model says that it is borne out. Of the others words decide.
    """
    unknown: dict[str, None] = {}
    judged = verdicts or {}
    read = tuple(_statements(text, passages, unknown))
    sources = tuple(dict.fromkeys(one for statement in read for one in statement.passages))
    cited = [(statement.sentence, [passages[one] for one in statement.passages]) for statement in read if statement.passages]
    return Cited(
        text=_render(read, sources),
        statements=read,
        citations=tuple(
            Citation(passage=passage, sentence=sentence, support=round(support(sentence, [words_of(passage)]), 3))
            for sentence, those in cited
            for passage in those
        ),
        sources=sources,
        unknown=tuple(unknown),
        unsupported=_once(sentence for sentence, those in cited if not _borne_out(sentence, those, judged.get(sentence))),
        confirmed=_once(sentence for sentence, _ in cited if judged.get(sentence)),
        uncited=_once(s.sentence for s in read if not s.passages and _claims(s.sentence)),
    )


def without(cited: Cited, sentences: Collection[str]) -> str:
    """The text of `cited` without these sentences and their marks.

    Sources that are cited by nothing any more lose their number; the others keep their order.
    """
    kept = tuple(statement for statement in cited.statements if statement.sentence not in sentences)
    used = {one for statement in kept for one in statement.passages}
    return _render(kept, [source for source in cited.sources if source in used])


def nothing_found(text: str) -> bool:
    """True if the text says that nothing was found, or that its writer does not know."""
    return _NOTHING_FOUND.search(text) is not None


def _once(sentences: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentences))


def words_of(passage: Passage) -> str:
    """All that a passage says, its title and headings included."""
    return "\n".join((passage.title, *passage.heading_path, passage.text))


def _borne_out(sentence: str, passages: Collection[Passage], verdict: bool | None) -> bool:
    texts = [words_of(passage) for passage in passages]
    if verdict is not None:
        return verdict and not differs(sentence, texts)  # nobody may read another number into a passage
    return support(sentence, texts) >= ENOUGH and not contradicts(sentence, texts)


def _claims(sentence: str) -> bool:
    """True unless it is a question, a heading, an introduction (``...:``), a courtesy, or says that nothing was found."""
    bare = _GREETING.sub("", sentence.strip("*_ \t"), count=1)
    if bare.endswith(("?", "？", ":", "：")) or bare.startswith("#") or not topic_terms(bare):
        return False
    return not (_FAREWELL.match(bare) or _NOTHING_FOUND.search(bare))


@dataclass(frozen=True, slots=True)
class _Mark:
    """A mark by the place in the text without marks where it stood; `ids` are those of known passages, perhaps none."""

    at: int
    ids: tuple[str, ...]


def _statements(text: str, passages: Mapping[str, Passage], unknown: dict[str, None]) -> Iterator[Statement]:
    plain, marks = _lift(text, passages, unknown)
    spans = list(statements(plain))
    end = 0
    for number, (left, right) in enumerate(spans):
        # A mark belongs to the sentence before it, however much white space lies between.
        until = spans[number + 1][0] if number + 1 < len(spans) else len(plain)
        mine = [mark for mark in marks if (left < mark.at or number == 0) and mark.at <= until and mark.ids]
        yield Statement(before=plain[end:left], pieces=_pieces(plain, left, right, mine))
        end = right


def _pieces(plain: str, left: int, right: int, marks: Collection[_Mark]) -> tuple[str | tuple[str, ...], ...]:
    pieces: list[str | tuple[str, ...]] = []
    at = left
    for mark in marks:
        stop = min(max(mark.at, left), right)
        if stop > at:
            pieces.append(plain[at:stop])
        at = max(at, stop)
        pieces.append(mark.ids)
    if at < right:
        pieces.append(plain[at:right])
    return tuple(pieces)


def _lift(text: str, passages: Mapping[str, Passage], unknown: dict[str, None]) -> tuple[str, list[_Mark]]:
    """The text without marks, and the marks."""
    code = [match.span() for match in _CODE.finditer(text)]
    plain: list[str] = []
    marks: list[_Mark] = []
    length = at = 0
    for found in _MARK.finditer(text):
        names = [_name(written) for written in _BETWEEN.split(found["names"])]
        if not all(name in passages or _LIKE_AN_ID.match(name) for name in names):
            continue
        # A link that shows a number or a passage's id would pass for a mark and lead elsewhere; other links are just links.
        if found["link"] and not all(name in passages or name.isdecimal() for name in names):
            continue
        if any(start <= found.start() < end for start, end in code):
            continue
        piece = text[at : found.start()]
        # "It works [vpn-1]." without its mark is "It works.", not "It works ."
        if not piece.endswith("\n") and (found.end() == len(text) or not text[found.end()].isalnum()):
            piece = piece.rstrip(" \t")
        plain.append(piece)
        length += len(piece)
        marks.append(_Mark(length, tuple(dict.fromkeys(name for name in names if name in passages))))
        unknown.update((name, None) for name in names if name not in passages)
        at = found.end()
        # "[a-1]: https://.." on its own line would make a link of every [1].
        if text.startswith(":", at) and not text[text.rfind("\n", 0, found.start()) + 1 : found.start()].strip():
            at += 1
    plain.append(text[at:])
    return "".join(plain), marks


def _name(written: str) -> str:
    """The id a mark names: models write it with other hyphens, digits and capitals, and with invisible characters."""
    return unicodedata.normalize("NFKC", written.translate(_SPELLINGS)).lower()


def _render(statements: Iterable[Statement], sources: Collection[str]) -> str:
    numbers = {source: number for number, source in enumerate(sources, start=1)}
    parts: list[str] = []
    for statement in statements:
        parts.append(statement.before)
        for piece in statement.pieces:
            if isinstance(piece, str):
                parts.append(piece)
            else:
                marks = "".join(f"[{numbers[one]}]" for one in piece)
                parts.append(marks if not parts or parts[-1][-1:] in ("", " ", "\n", "]") else f" {marks}")
    return re.sub(r"\n{3,}", "\n\n", "".join(parts)).strip()
