from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from pypdf import PdfWriter

from quarterdeck.core.errors import InvalidInput
from quarterdeck.knowledge.chunk import split
from quarterdeck.knowledge.parsers.base import Parsed
from quarterdeck.knowledge.parsers.kinds import KINDS, Kind
from quarterdeck.knowledge.parsers.read import DocumentReader
from tests.unit.knowledge.parsers import documents


@pytest.fixture(scope="module")
def reader() -> Iterator[DocumentReader]:
    with DocumentReader() as opened:
        yield opened


def paths(parsed: Parsed) -> list[tuple[str, tuple[str, ...]]]:
    return [(parsed.text[block.start : block.end], block.heading_path) for block in parsed.blocks]


@pytest.mark.row("K1", part="html")
def test_a_page_gives_its_headings_paragraphs_tables_and_code(reader: DocumentReader) -> None:
    source = """<!DOCTYPE html><title>Leave &amp; pay</title><body><h1>Leave</h1><p>Ask <b>early</b>,
        please.</p><div>loose<p>inside</p>after</div><h2>Days</h2><table><tr><th>who<th>days<tr><td>staff<td>30</table>
        <pre>a\n  b</pre><ul><li>one<li>二</ul>"""

    parsed = reader.read("a.html", source.encode())

    assert parsed.title == "Leave & pay"
    assert paths(parsed) == [
        *(("Ask early, please.", ("Leave",)), ("loose", ("Leave",)), ("inside", ("Leave",)), ("after", ("Leave",))),
        *(("who | days\nstaff | 30", ("Leave", "Days")), ("a\n  b", ("Leave", "Days"))),
        *(("one", ("Leave", "Days")), ("二", ("Leave", "Days"))),
    ]
    assert [block.lines for block in parsed.blocks] == [False] * 4 + [True] * 2 + [False] * 2


@pytest.mark.row("K1", part="html")
def test_tables_that_arrange_a_page_are_read_as_the_page(reader: DocumentReader) -> None:
    parsed = reader.read("a.htm", b"<table><tr><td><h2>Menu</h2>soup<td><table><tr><td>1<td>2</table></table>")

    assert paths(parsed) == [("soup", ("Menu",)), ("1 | 2", ("Menu",))]


@pytest.mark.row("K1", part="html")
def test_a_part_of_a_page_is_read_and_its_headings_stand_on_one_line(reader: DocumentReader) -> None:
    parsed = reader.read("a.html", b"<h2>Notes<br>and fixes</h2><pre>a<br>b</pre>")

    assert parsed.title == "Notes and fixes"
    assert paths(parsed) == [("a\nb", ("Notes and fixes",))]


@pytest.mark.row("K1", part="csv")
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_records_repeat_the_names_of_their_columns(reader: DocumentReader, separator: str) -> None:
    table = 'Name,Days\nAnn,30\n\n"Bo\nEsq.",=1+1\n'.replace(",", separator)

    parsed = reader.read("a.csv", table.encode())

    assert [text for text, _ in paths(parsed)] == ["Name: Ann; Days: 30", "Name: Bo Esq.; Days: =1+1"]


@pytest.mark.row("K1", part="json")
def test_values_stand_below_the_keys_that_lead_to_them(reader: DocumentReader) -> None:
    source = """{"title": "Leave", "year": 2026, "on": {"x": [true, null]},
        "rules": [{"who": "staff", "days": {"min": 30}}, {"who": "临时工"}]}"""

    parsed = reader.read("a.json", source.encode())

    assert parsed.title == "Leave"
    assert paths(parsed) == [
        ("title: Leave\nyear: 2026", ()),
        ("x: true", ("on",)),
        ("who: staff\ndays.min: 30", ("rules",)),
        ("who: 临时工", ("rules",)),
    ]


@pytest.mark.row("K1", part="pdf")
def test_every_passage_of_a_pdf_says_its_page(reader: DocumentReader) -> None:
    parsed = reader.read("a.pdf", documents.pdf("Sentences go\nover lines.\nAnother one.", "Second page."))

    assert paths(parsed) == [
        ("Sentences go over lines.\nAnother one.", ("page 1",)),
        ("Second page.", ("page 2",)),
    ]


@pytest.mark.row("K1", part="pdf")
def test_chapters_of_a_pdf_are_those_of_its_table_of_contents(reader: DocumentReader) -> None:
    book = PdfWriter()
    book.append(io.BytesIO(documents.pdf("First.", "Second.", "Third.")))
    chapter = book.add_outline_item(title="One", page_number=0)
    book.add_outline_item(title="Inner", page_number=1, parent=chapter)
    book.add_outline_item(title="Two", page_number=2)
    book.add_metadata({"/Title": "Book"})
    made = io.BytesIO()
    book.write(made)

    parsed = reader.read("a.pdf", made.getvalue())

    assert parsed.title == "Book"
    assert paths(parsed) == [
        ("First.", ("One", "page 1")),
        ("Second.", ("One", "Inner", "page 2")),
        ("Third.", ("Two", "page 3")),
    ]


@pytest.mark.row("K1", part="docx")
def test_a_word_file_gives_its_headings_and_tables(reader: DocumentReader) -> None:
    parsed = reader.read("a.docx", documents.docx())

    assert parsed.title == "Travel"
    assert paths(parsed) == [("Book early.", ("Trains",)), ("class | fare\nsecond | 29", ("Trains", "Prices"))]
    assert parsed.warnings == ("1 hidden part was left out",)


@pytest.mark.row("K1", part="spans")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.html", "<html><h1>Ä</h1>" + "<p>Eine Regel. 第二条规则。</p>" * 40),
        ("a.csv", "a,b\n" + "x,第二\n" * 200),
        ("a.json", '[{"a": "' + "第二条规则。" * 200 + '"}]'),
        ("a.pdf", documents.pdf(*["A rule of the house. Another rule of the house." * 10] * 3)),
        ("a.docx", documents.docx()),
    ],
)
def test_every_chunk_is_exactly_its_span_in_the_text(reader: DocumentReader, name: str, data: str | bytes) -> None:
    parsed = reader.read(name, data if isinstance(data, bytes) else data.encode())

    chunks = split(parsed.text, parsed.blocks, size=100)

    assert chunks
    assert all(parsed.text[chunk.start : chunk.end] == chunk.text for chunk in chunks)


@pytest.mark.row("K1", part="by content")
@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.pdf", b"MZ\x90\x00\x03", "a program"),
        ("a.pdf", b"just text", "named .pdf, but its content is not PDF"),
        ("a.txt", documents.pdf("x"), r"its content is PDF: name it \.pdf"),
        ("a.md", b"<!doctype html><p>x", "its content is HTML"),
        ("a.html", b"no tag < here", "its content is not HTML"),
        ("a.docx", documents.pdf("x"), "its content is PDF"),
        ("a.pdf", documents.docx(), "its content is DOCX"),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file"),
        ("a.txt", b"\x1f\x8b\x08", "a compressed file"),
        ("a.xlsx", documents.docx(), "no parser"),
        ("a.html", b'<?xml version="1.0"?><svg/>', "XML"),
        ("a.txt", b"", "empty"),
        ("a.pdf", documents.pdf("x") + documents.docx(), "two kinds of file at once"),
        ("a.docx", b"PK\x03\x04%PDF-1.7" + documents.docx(), "two kinds of file at once"),
        ("a.docx", b"PK\x03\x04 nothing else", "damaged"),
    ],
)
def test_a_name_that_contradicts_the_content_is_refused(reader: DocumentReader, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        reader.read(name, data)


@pytest.mark.row("K1", part="by content")
def test_a_file_without_a_suffix_is_what_its_content_is(reader: DocumentReader) -> None:
    assert reader.read("report", documents.pdf("Yes.")).blocks[0].heading_path == ("page 1",)
    assert reader.read("README", b"# text").text == "# text"


def test_a_kind_of_ones_own_is_read_by_its_own_parser() -> None:
    module = "tests.unit.knowledge.parsers.misbehaving"
    own = Kind(name="order", module=module, suffixes=(".order",), magic=b"well")

    with DocumentReader(kinds=(*KINDS, own)) as reader:
        assert reader.read("a.order", b"well").text == "done"
        with pytest.raises(InvalidInput, match="its content is order"):
            reader.read("a.txt", b"well")
