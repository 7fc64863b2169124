"""Every format gives its words, with a place to open; nothing that a file holds can stop the reading of others."""

import datetime
import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import openpyxl
import pptx
import pytest
from fakes import WordTokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.sample_files import docx_bytes, epub_bytes, mail_bytes, pdf_bytes, pptx_bytes, write_samples, xlsx_bytes
from indexes.errors import UnreadableFileError
from indexes.files import SUPPORTED_SUFFIXES, kind_of, stem_of, suffix_of
from indexes.readers.process import read_documents, read_one
from indexes.readers.text import MAX_PIECE, open_text, text_pieces
from indexes.splitting import PassageSettings, split_document
from indexes.types import Document, Passage

SMALL = PassageSettings(max_tokens=16, overlap_tokens=2)


def read(file: Path) -> list[Document]:
    return list(read_documents(file, file.name, read_one))


def passages_of(documents: list[Document], how: PassageSettings = SMALL) -> list[Passage]:
    return [passage for document in documents for passage in split_document(document, WordTokenizer(), how)]


def write(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {file.name: file for file in write_samples(tmp_path_factory.mktemp("samples"))}


def test_there_is_a_sample_of_every_format(samples: dict[str, Path]) -> None:
    missing = {kind_of(f"x{suffix}") for suffix in SUPPORTED_SUFFIXES} - {kind_of(name) for name in samples}
    assert missing == set()


def test_every_sample_gives_its_words_and_every_passage_is_its_span(samples: dict[str, Path]) -> None:
    for name, file in samples.items():
        documents = read(file)
        texts = {document.id: document.text for document in documents}
        passages = passages_of(documents)
        words = " ".join(" ".join(passage.text for passage in passages).split())
        expected = "schnurren" if name == "latin.txt" else "25"
        assert expected in words, name
        assert all(texts[p.document_id][p.start : p.end] == p.text for p in passages), name
        assert all(document.kind and document.date for document in documents), name


def test_a_place_is_kept_with_every_passage(samples: dict[str, Path]) -> None:
    def places(name: str) -> list[tuple[str, int | None]]:
        return [(p.title, p.page) for p in passages_of(read(samples[name]), PassageSettings(max_tokens=60))]

    assert places("talk.pptx") == [("Cats", 1), ("Dogs", 2)]
    assert places("book.xlsx") == [("Sounds", None), ("Weights", None)]
    assert places("novel.epub")[1:] == [("Cats", None), ("Dogs", None)]
    assert places("report.docx")[0] == ("Findings › Cats", None)
    assert places("cats.py")[0] == ("cats.py", None)


def test_a_page_is_titled_by_what_it_calls_itself(tmp_path: Path) -> None:
    page = write(tmp_path / "p17.html", b"<title>All about\n cats</title><p>They purr.</p>")
    assert read(page)[0].title == "All about cats"


def test_a_mail_has_its_head_its_body_its_day_and_the_names_of_its_attachments(tmp_path: Path) -> None:
    (mail,) = read(write(tmp_path / "letter.eml", mail_bytes()))
    assert (mail.title, mail.date) == ("Über das Schnurren", "2023-11-14")
    assert mail.text.startswith("From: Mia <mia@example.org>\nTo: Rex")
    assert "Attachments: proof.pdf\n\nCats purr at 25 hertz." in mail.text


def test_a_mail_without_plain_text_gives_its_html(tmp_path: Path) -> None:
    content = b"Subject: x\nContent-Type: text/html; charset=latin-1\n\n<p>Gr\xfc\xdfe <b>an alle</b></p>"
    assert "Grüße **an alle**" in read(write(tmp_path / "html.eml", content))[0].text


def test_cells_are_shown_as_people_see_them(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(["day", "n", "a|b"])
    workbook.active.append([datetime.datetime(2026, 1, 2), 3.0, "x\ny"])
    workbook.save(tmp_path / "book.xlsx")
    assert "| day | n | a\\|b |\n| --- | --- | --- |\n| 2026-01-02 | 3 | x y |" in read(tmp_path / "book.xlsx")[0].text


def test_a_stray_cell_in_the_last_corner_of_a_sheet_costs_nothing(tmp_path: Path) -> None:
    """Readers that lay a sheet out as a grid ask for hundreds of gigabytes here."""
    workbook = openpyxl.Workbook()
    workbook.active["A1"] = "Cats purr."
    workbook.active["XFD1048576"] = "stray"
    workbook.save(tmp_path / "book.xlsx")
    assert "Cats purr." in read(tmp_path / "book.xlsx")[0].text


def test_a_record_without_a_text_field_is_its_fields(tmp_path: Path) -> None:
    record = {"name": "Mia", "weights": [4.5, 4.6], "owner": {"city": "Köln"}, "visits": [{"day": 1}], "none": None}
    (document,) = read(write(tmp_path / "cat.json", json.dumps(record).encode()))
    assert document.text == "name: Mia\nweights: 4.5, 4.6\nowner.city: Köln\nvisits[1].day: 1"


def test_the_day_of_a_record_is_its_own(tmp_path: Path) -> None:
    file = write(tmp_path / "notes.jsonl", b'{"text": "Cats purr.", "date": "2020-02-03T10:00:00Z"}\n')
    assert read(file)[0].date == "2020-02-03"


def test_characters_that_no_store_takes_are_replaced_or_left_out(tmp_path: Path) -> None:
    (document,) = read(write(tmp_path / "odd.jsonl", b'{"id": "\\ud800", "text": "a\\u0000b\\udfffc"}\n'))
    assert (document.id, document.text) == ("?", "ab?c")
    assert document.note == "1 character without meaning (NUL) left out."


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.TXT", "txt"), ("b.markdown", "md"), ("c.htm", "html"), ("d.jsonl.gz", "jsonl"), ("e.tar.gz", "")],
)
def test_a_kind_is_told_by_the_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_name_is_a_stem_and_a_suffix() -> None:
    assert [(stem_of(n), suffix_of(n)) for n in ("a/b.c.csv.gz", ".gz", "plain")] == [
        ("b.c", ".csv.gz"),
        (".gz", ""),
        ("plain", ""),
    ]


def damaged(make: Callable[[], bytes]) -> bytes:
    content = bytearray(make())
    content[40:] = bytes(byte ^ 0x5A for byte in content[40:])
    return bytes(content)


def zipped(**members: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


def blank_talk() -> bytes:
    talk, written = pptx.Presentation(), io.BytesIO()
    talk.slides.add_slide(talk.slide_layouts[6])
    talk.save(written)
    return written.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("secret.pdf", pdf_bytes(["x"], password="cat"), "asks for a password"),
        ("secret.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 rest", "asks for a password"),
        ("empty.txt", b"", "empty"),
        ("blank.md", b" \n ", "no text"),
        ("picture.png", b"\x89PNG", "supported"),
        ("binary.txt", b"\x00\x01\x02\xff", "binary"),
        ("fake.pdf", b"hello", "name says PDF"),
        ("fake.docx", b"hello", "name says Word"),
        ("bad.jsonl", b'{"text": "a"}\nnot json\n', "Line 2 is not JSON"),
        ("list.jsonl", b"[1, 2]\n", "Line 1 is not a record"),
        ("fake.jsonl.gz", b'{"text": "a"}\n', "gzip"),
        ("header.csv", b"id,text\n", "no rows"),
        ("damaged.pdf", pdf_bytes(["x"])[:200], "damaged"),
        ("damaged.pptx", damaged(pptx_bytes), "damaged"),
        ("damaged.xlsx", damaged(xlsx_bytes), "damaged"),
        ("damaged.epub", damaged(epub_bytes), "damaged"),
        ("cut.docx", docx_bytes()[:-400], "damaged"),
        ("really.docx", xlsx_bytes(), "another kind of zip"),
        ("really.epub", zipped(a=b"x"), "another kind of zip"),
        ("blank.pptx", blank_talk(), r"1 slide and no text"),
        ("really.txt", pdf_bytes(["x"]), "content is a PDF"),
        ("really.csv", docx_bytes(), "zip archive or an Office document"),
        ("really.html", b"\x89PNG\r\n\x1a\n", "a picture"),
        ("fake.eml", b"no mail at all", "name says mail"),
        ("bad.json", b'{"a": \n oops}', r"not \(line 2\)"),
        ("deep.json", b"[" * 100_000, "too deeply nested"),
        ("deep.jsonl", b'{"a": ' * 100_000 + b"\n", "Line 1 is not JSON"),
        ("number.jsonl", b'{"a": ' + b"9" * 5000 + b"}\n", "Line 1 is not JSON"),
        ("empty.json", b"[]", "No record with text"),
        ("quote.csv", b'a,b\n"' + b"x" * 17_000_000, "Is a quote not closed"),
        ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n" * 1000)[:-20], "gzip"),
        ("bomb.txt.gz", gzip.compress(b"\n" * 2**25), "as a bomb does"),
        ("bomb.docx", zipped(**{"word/document.xml": b" " * 2**25}), "zip bomb"),
        ("locked.epub", zipped(**{
            "META-INF/container.xml": b"x", "META-INF/encryption.xml": b'<CipherReference URI="one.xhtml"/>'
        }), "encrypted"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and " " not in value else "",
)  # fmt: skip
def test_a_bad_file_gives_its_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableFileError, match=sentence):
        read(write(tmp_path / name, content))


def test_a_few_damaged_bytes_do_not_make_utf8_something_else(tmp_path: Path) -> None:
    text = "Größere Hunde bellen überall schön laut, kleine Füchse nicht. ".encode()
    assert "schön laut" in read(write(tmp_path / "note.txt", text * 5 + b"\xff\xfe broken"))[0].text


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(SUPPORTED_SUFFIXES),
    content=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=120).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.text(alphabet='<>/&;"ahtmlb=# \n|-:,[]{}1', max_size=200).map(str.encode),
        st.binary(max_size=100).map(gzip.compress),
        st.binary(max_size=100).map(lambda inner: zipped(**{"word/a": inner, "ppt/a": inner, "xl/a": inner})),
    ),
)
def test_no_content_raises_anything_but_its_sentence(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = write(tmp_path / f"any{suffix}", content)
    try:
        documents = read(file)
    except UnreadableFileError as error:
        assert str(error)
        return
    texts = {document.id: document.text for document in documents}
    for passage in passages_of(documents):
        assert passage.text == texts[passage.document_id][passage.start : passage.end]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_sample_with_some_bytes_changed_raises_nothing_but_its_sentence(
    samples: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    """Real damage sits inside a real file, behind the checks of its first bytes."""
    sample = samples[data.draw(st.sampled_from(["paper.pdf", "report.docx", "talk.pptx", "book.xlsx", "novel.epub"]))]
    content = bytearray(sample.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    try:
        read(write(tmp_path / sample.name, bytes(content)))
    except UnreadableFileError as error:
        assert str(error)


@settings(max_examples=80)
@given(st.text(alphabet="ab \n", max_size=200), st.integers(2, 40))
def test_pieces_of_a_text_are_the_text(text: str, most: int) -> None:
    pieces = list(text_pieces(io.StringIO(text), most))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= most


def test_a_long_text_is_read_as_parts_that_say_where_they_begin(tmp_path: Path) -> None:
    paragraph = "Cats purr at twenty-five hertz, größer oder kleiner.\n\n"
    text = paragraph * (3 * MAX_PIECE // len(paragraph))
    documents = read(write(tmp_path / "long.txt", text.encode()))
    assert [document.title for document in documents] == [f"long (part {n})" for n in range(1, len(documents) + 1)]
    for document in documents:
        offset = int(document.id.removeprefix("long.txt@"))
        assert text[offset : offset + len(document.text)] == document.text
        assert document.text.startswith("Cats")
    assert "".join(document.text for document in documents) == text


def test_a_text_as_long_as_one_piece_keeps_its_own_id(tmp_path: Path) -> None:
    assert [d.id for d in read(write(tmp_path / "long.txt", b"a" * MAX_PIECE))] == ["long.txt"]


def test_the_encoding_is_told_from_all_of_a_file(tmp_path: Path) -> None:
    """Only the second million characters are not ASCII: a look at the beginning would call it UTF-8 or ASCII."""
    content = b"plain words only. " * 70_000 + "Größere Füchse bellen überall schön. ".encode("latin-1") * 100
    with open_text(write(tmp_path / "late.txt", content), packed=False) as text:
        assert "Größere Füchse bellen überall schön" in text.read()


_MEASURE = """
import resource, sys
from pathlib import Path
from indexes.readers.process import read_documents
file = Path(sys.argv[1])
small = file.with_name("small" + "".join(file.suffixes))
list(read_documents(small, small.name))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n_characters = sum(len(document.text) for document in read_documents(file, file.name))
print(n_characters, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize(
    ("name", "head", "line", "n_bytes"),
    [
        ("long.txt", "", "Cats purr at twenty-five hertz. " * 6 + "\n", 80 * 2**20),
        ("long.csv", "title,text\n", "Cats," + "They purr at twenty-five hertz. " * 60 + "\n", 60 * 2**20),
        ("long.jsonl", "", json.dumps({"text": "They purr at twenty-five hertz. " * 60}) + "\n", 60 * 2**20),
        ("long.txt.gz", "", "Cats purr at twenty-five hertz. " * 6 + "\n", 60 * 2**20),
    ],
)
def test_a_file_is_never_held_as_a_whole(tmp_path: Path, name: str, head: str, line: str, n_bytes: int) -> None:
    """Read whole, the largest of these takes several times its 80 MiB."""
    suffix = name.removeprefix("long")
    lines = (line * (2**20 // len(line))).encode()
    for stem, n_blocks in (("small", 2), ("long", n_bytes // len(lines))):
        with open_to_write(tmp_path / f"{stem}{suffix}") as file:
            file.write(head.encode())
            for _ in range(n_blocks):
                file.write(lines)
                if suffix == ".txt.gz":  # otherwise it is a bomb
                    file.write(os.urandom(2**14).hex().encode())
    command = [sys.executable, "-c", _MEASURE, str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    n_characters, grown_mib = map(int, done.stdout.split())
    assert n_characters > 0.9 * n_bytes
    assert grown_mib < 40


def open_to_write(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file, "wb", 1)) if file.suffix == ".gz" else file.open("wb")
