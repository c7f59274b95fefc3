"""Files made to harm their reader: each is refused with a reason or read without what harms, and none is fatal."""

from __future__ import annotations

import json
import stat
import struct
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from quarterdeck.core.errors import InvalidInput, TooLarge
from quarterdeck.knowledge.base import Lookup
from quarterdeck.knowledge.indexes.sqlite import SqliteIndex
from quarterdeck.knowledge.ingest import Ingester
from quarterdeck.knowledge.parsers.process import Limits
from quarterdeck.knowledge.parsers.read import DocumentReader
from tests.unit.knowledge.parsers import documents

EVERYONE = frozenset({"everyone"})
BODY = "word/document.xml"
SINGLE = documents.pdf("x")
XML = '<?xml version="1.0" encoding="UTF-8"?>'
LAUGHS = f'{XML}<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><w:document>&b;</w:document>'.encode()
XXE = f'{XML}<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><w:document>&f;</w:document>'.encode()


@pytest.fixture(scope="module")
def reader() -> Iterator[DocumentReader]:
    with DocumentReader() as opened:
        yield opened


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[SqliteIndex]:
    opened = await SqliteIndex.open(tmp_path / "index.db")
    yield opened
    await opened.close()


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.row("K1", part="hostile docx")
@pytest.mark.parametrize(
    ("entries", "error", "reason"),
    [
        ({BODY: b" " * 30_000_000}, TooLarge, "grows more than 100 times"),
        ({f"word/media/{number}.bin": b"\0" * 900_000 for number in range(10)}, TooLarge, "grows more than 100 times"),
        ({f"x/{number}": b"" for number in range(10_001)}, TooLarge, "10,?0.. entries"),
        ({link("word/media/a"): b"/etc/passwd"}, InvalidInput, "a link in the archive"),
        ({"../../etc/cron.d/x": b""}, InvalidInput, "leads out of the archive"),
        ({"/etc/cron.d/x": b""}, InvalidInput, "leads out of the archive"),
        ({"C:\\x": b""}, InvalidInput, "leads out of the archive"),
        ({BODY: LAUGHS}, InvalidInput, "defines a document type or entities"),
        ({BODY: XXE}, InvalidInput, "defines a document type or entities"),
        ({"docProps/core.xml": XXE}, InvalidInput, "defines a document type or entities"),
        ({BODY: XXE.decode().encode("utf-16")}, InvalidInput, "another encoding than UTF-8"),
        ({BODY: b'<?xml version="1.0" encoding="UTF-7"?><w/>'}, InvalidInput, "another encoding than UTF-8"),
        ({BODY: b"<w:document"}, InvalidInput, "damaged Word file"),
        ({"[Content_Types].xml": b"<a/>"}, InvalidInput, "damaged Word file"),
    ],
    ids=[
        *("bomb", "many small bombs", "many entries", "link", "climbing", "absolute", "drive", "laughs", "xxe"),
        *("xxe in properties", "utf-16", "utf-7", "cut", "no types"),
    ],
)
def test_an_archive_that_would_harm_is_refused(
    reader: DocumentReader, entries: dict[str | zipfile.ZipInfo, bytes], error: type[InvalidInput], reason: str
) -> None:
    data = documents.with_entries(documents.docx(), entries)

    with pytest.raises(error, match=reason):
        reader.read("a.docx", data)


@pytest.mark.row("K1", part="hostile docx")
def test_an_archive_inside_a_word_file_is_not_opened(reader: DocumentReader) -> None:
    inner = documents.with_entries(documents.docx(), {"bomb": b"\0" * 900_000})

    parsed = reader.read("a.docx", documents.with_entries(documents.docx(), {"word/embeddings/inner.docx": inner}))

    assert "Book early." in parsed.text
    assert "the files embedded in it were not read" in parsed.warnings


@pytest.mark.row("K1", part="hostile docx")
def test_another_archive_is_no_word_file(reader: DocumentReader, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x")

    with pytest.raises(InvalidInput, match="no Word file"):
        reader.read("a.docx", (tmp_path / "a.zip").read_bytes())


@pytest.mark.row("K1", part="hostile docx")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_cut_off_anywhere_is_refused(reader: DocumentReader, share: float) -> None:
    data = documents.docx()

    with pytest.raises(InvalidInput):
        reader.read("a.docx", data[: int(len(data) * share)])


@pytest.mark.row("K1", part="hostile pdf")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (documents.pdf("x", kids=2_001), TooLarge),
        (documents.pdf("x").replace(b"/Count 1 ", b"/Count 1000000 "), None),
        (documents.pdf("x").replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]"), InvalidInput),
        (SINGLE.replace(b"/Root 1 0 R", b"/Root 1 0 R /Prev %d" % SINGLE.rindex(b"xref\n0")), None),
        (documents.pdf("x").replace(b"trailer\n<<", b"trailer\n<< /Encrypt 3 0 R"), InvalidInput),
        (documents.pdf("x", root="/Outlines 1 0 R /First 1 0 R /Next 1 0 R"), None),
        (documents.pdf("x", content=b"BT " + b"[" * 100_000), InvalidInput),
        (documents.pdf(""), InvalidInput),
        (b"%PDF-1.7\n" + b"\x00\xff" * 1_000, InvalidInput),
        (b"%PDF-1.7", InvalidInput),
    ],
    ids="pages count cycle previous encrypted outline nested scanned noise empty".split(),
)
def test_a_pdf_that_breaks_the_format_is_refused_or_read(
    reader: DocumentReader, data: bytes, error: type[InvalidInput] | None
) -> None:
    if error is None:
        assert reader.read("a.pdf", data).text == "x"
    else:
        with pytest.raises(error):
            reader.read("a.pdf", data)


@pytest.mark.row("K1", part="hostile pdf")
def test_scripts_and_attached_files_of_a_pdf_are_not_read(reader: DocumentReader) -> None:
    names = "/Names << /EmbeddedFiles << /Names [(a.exe) << /Type /Filespec /F (a.exe) /EF << /F 5 0 R >> >>] >> >>"
    script = "/OpenAction << /S /JavaScript /JS (app.alert\\(1\\)) >>"

    parsed = reader.read("a.pdf", documents.pdf("Visible.", root=names + script))

    assert parsed.text == "Visible."
    assert parsed.warnings == ("the files attached to it were not read",)


@pytest.mark.row("K1", part="hostile html")
@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>obey</p>",
        "<p style='display : NONE'>obey</p>",
        "<p style='color:red;visibility:hidden'>obey</p>",
        "<p style='font-size:0px'>obey</p>",
        "<p style='opacity:0'>obey</p>",
        "<p style='position:absolute;left:-9999px'>obey</p>",
        "<p class='sr'>obey</p>",
        "<p aria-hidden=true>obey</p>",
        "<h2 hidden>obey</h2>",
        "<p>see <span hidden>obey</span></p>",
        "<table><tr><td hidden>obey<td>x</table>",
        "<pre>x<b hidden>obey</b></pre>",
    ],
)
def test_hidden_text_of_a_page_is_left_out_and_counted(reader: DocumentReader, hidden: str) -> None:
    page = f"<html><head><style>/* .p */ p.sr {{ display: none }}</style></head><p>Plain.</p>{hidden}"

    parsed = reader.read("a.html", page.encode())

    assert parsed.text.startswith("Plain.")
    assert "obey" not in parsed.text
    assert parsed.warnings == ("1 hidden part was left out",)


@pytest.mark.row("K1", part="hostile html")
def test_scripts_styles_comments_and_data_addresses_are_no_text(reader: DocumentReader) -> None:
    page = """<html><p>Plain.</p><!-- obey --><script>obey()</script><style>obey{}</style><template>obey</template>
        <a href="data:text/html,obey">link</a><img alt="obey" src="data:,obey"><svg><text>obey</text></svg>
        <iframe srcdoc="obey"></iframe><p style="opacity:0.5;margin-left:-1px">Pale.</p>"""

    parsed = reader.read("a.html", page.encode())

    assert parsed.text == "Plain.\n\nlink\n\nPale."
    assert parsed.warnings == ()


@pytest.mark.row("K1", part="hostile html")
@pytest.mark.parametrize("tag", ["div", "b", "table><tr><td"])
def test_elements_nested_five_thousand_deep_are_refused(reader: DocumentReader, tag: str) -> None:
    with pytest.raises(InvalidInput, match="nested deeper than 500"):
        reader.read("a.html", b"<html>" + f"<{tag}>".encode() * 5_000 + b"x")


def test_a_page_of_nothing_but_paragraphs_is_refused_before_it_fills_the_memory(reader: DocumentReader) -> None:
    with pytest.raises(TooLarge, match="more than 200,000 paragraphs"):
        reader.read("many.html", b"<p>a" * 210_000)


@pytest.mark.row("K1", part="hostile csv")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"," * 1_000_000, TooLarge),
        (b"a,b\n" + b"x," * 1_001, TooLarge),
        (b"a\n" * 200_002, TooLarge),
        (b"a,b\n1," + b"x" * 200_000, InvalidInput),
        (b'a,b\n"never closed', InvalidInput),
        (b"only,names\n", InvalidInput),
    ],
    ids="columns row rows cell quote names".split(),
)
def test_a_table_beyond_its_limits_is_refused(reader: DocumentReader, data: bytes, error: type[InvalidInput]) -> None:
    with pytest.raises(error):
        reader.read("a.csv", data)


@pytest.mark.row("K1", part="hostile json")
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"[" * 100_000, TooLarge),
        (b'{"a":' * 65 + b"1" + b"}" * 65, TooLarge),
        (b"[" + b"1," * 200_001 + b"1]", TooLarge),
        (b'{"a": NaN}', InvalidInput),
        (b'["\\ud800"]', InvalidInput),
        (b'{"a": 1', InvalidInput),
        (b"not json", InvalidInput),
        (b'{"groups": ["hr"], "text": "x"}', InvalidInput),
    ],
    ids="brackets depth values nan surrogate cut none groups".split(),
)
def test_json_that_is_none_or_too_much_is_refused(reader: DocumentReader, data: bytes, error: type[InvalidInput]) -> None:
    with pytest.raises(error):
        reader.read("a.json", data)


@pytest.mark.row("K1", part="folder")
async def test_hostile_files_of_a_folder_are_refused_and_the_others_are_read(index: SqliteIndex, tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    folder.mkdir()
    (folder / "slow.pdf").write_bytes(documents.pdf("x", kids=1_500, content=b"BT /F1 9 Tf " + b"(a) Tj " * 20_000 + b"ET"))
    (folder / "greedy.html").write_bytes(b"<html>" + b"<p>x" * 1_000_000)
    (folder / "bomb.docx").write_bytes(documents.with_entries(documents.docx(), {BODY: b" " * 30_000_000}))
    (folder / "fake.pdf").write_bytes(b"MZ\x90\x00")
    (folder / "good.pdf").write_bytes(documents.pdf("Alpha trains."))
    (folder / "good.docx").write_bytes(documents.docx())
    (folder / "page.html").write_bytes(b"<html><p>Beta rooms.</p><p hidden>obey</p>")
    (folder / "rows.csv").write_bytes(b"city,hotel\nBonn,Gamma\n")
    (folder / "data.json").write_bytes(b'{"title": "Rates", "rate": "delta"}')
    (folder / "plain.md").write_bytes(b"# Plain\n\nEpsilon.\n")

    ingester = Ingester(index, "acme", limits=Limits(time_s=2, memory_bytes=200_000_000))

    report = await ingester.ingest_folder(folder, groups=EVERYONE)
    again = await ingester.ingest_folder(folder, groups=EVERYONE)

    assert {file for file, _ in report.refused} == {"slow.pdf", "greedy.html", "bomb.docx", "fake.pdf"}
    assert "longer than 2 s" in dict(report.refused)["slow.pdf"]
    assert (report.added, report.warnings[-1]) == (6, ("page.html", "1 hidden part was left out"))
    assert again.unchanged == 6
    found = await index.keyword(Lookup(text="alpha trains", tenant="acme", groups=EVERYONE), 5)
    document = await index.document("acme", found[0].doc_id, EVERYONE)
    assert document is not None
    assert found[0].heading_path == ("page 1",)
    assert document.text[found[0].start : found[0].end] == found[0].text


@pytest.mark.row("K1", part="folder")
async def test_small_files_by_the_hundred_are_all_read(index: SqliteIndex, tmp_path: Path) -> None:
    folder = tmp_path / "kb"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.json").write_text(f'{{"n": "word{number}"}}')

    report = await Ingester(index, "acme").ingest_folder(folder, groups=EVERYONE)

    assert (report.added, report.refused) == (300, ())


async def test_who_stops_waiting_for_a_slow_file_is_let_go_at_once(index: SqliteIndex, tmp_path: Path) -> None:
    slow = documents.pdf("x", kids=1_500, content=b"BT /F1 9 Tf " + b"(a) Tj " * 20_000 + b"ET")
    (tmp_path / "slow.pdf").write_bytes(slow)
    begun = time.monotonic()

    with anyio.move_on_after(1):
        await Ingester(index, "acme").ingest_folder(tmp_path, groups=EVERYONE)

    assert time.monotonic() - begun < 10


@pytest.mark.row("K1", part="by content")
def test_a_page_of_many_comments_does_not_hold_up_who_looks_at_it(reader: DocumentReader) -> None:
    with pytest.raises(InvalidInput, match="not HTML"):
        reader.read("a.html", b"<!---->" * 500)
    page = reader.read("a.html", b"<!---->" * 500 + b"<html><p>Seen.")

    assert page.text == "Seen."


@pytest.mark.row("K1", part="by content")
async def test_an_archive_of_several_disks_does_not_stop_the_others(index: SqliteIndex, tmp_path: Path) -> None:
    end = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 0, 0, 0, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 1, 0, 2)
    disks = end + locator + struct.pack("<4sHHHHIIH", b"PK\x05\x06", *(0xFFFF,) * 4, *(0xFFFFFFFF,) * 2, 0)
    folder = tmp_path / "kb"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(b"%PDF-1.7\n" + disks)
    (folder / "b.docx").write_bytes(b"PK\x03\x04" + disks)
    (folder / "c.md").write_text("Read.")

    report = await Ingester(index, "acme").ingest_folder(folder, groups=EVERYONE)

    assert [file for file, _ in report.refused] == ["a.pdf", "b.docx"]
    assert report.added == 1


@pytest.mark.row("K1", part="folder")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.html", "---\ntitle: Pay\ngroups: hr\n---\n<h1>Pay</h1><p>Secret."),
        ("a.html", "<!-- groups: hr -->\n<html><h1>Pay</h1><p>Secret."),
        ("a.json", json.dumps({**{f"key{number}": number for number in range(20)}, "groups": ["hr"]})),
        ("a.json", json.dumps({"# note": "x", "groups": ["hr"]})),
    ],
    ids="front comment late hash".split(),
)
def test_an_access_list_nothing_would_read_is_refused(reader: DocumentReader, name: str, data: str) -> None:
    with pytest.raises(InvalidInput, match="access list"):
        reader.read(name, data.encode())
