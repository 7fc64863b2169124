"""Any supported file becomes text, or a sentence that says why not."""

import gzip
import json
import os
from pathlib import Path

import docx
import pytest
from fakes import WordTokenizer
from fpdf import FPDF

from indexes.errors import InputError, UnreadableFileError
from indexes.files import list_files
from indexes.readers.process import read_documents
from indexes.splitting import PassageSettings, split_document
from indexes.types import Document


def read(file: Path) -> list[Document]:
    return list(read_documents(file, file.name))


def make_pdf(file: Path, pages: list[str]) -> Path:
    pdf = FPDF()
    pdf.set_font("Helvetica", size=12)
    for page in pages:
        pdf.add_page()
        if page:
            pdf.multi_cell(0, 10, page)
    pdf.output(str(file))
    return file


def test_a_text_file_is_one_document(tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text("Cats purr.", encoding="utf-8")
    (document,) = read(file)
    assert (document.id, document.source, document.title, document.text) == (
        "note.txt",
        "note.txt",
        "note",
        "Cats purr.",
    )


def test_a_document_knows_its_kind_and_the_day_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "page.HTM"
    file.write_text("<p>Cats purr.</p>")
    os.utime(file, (1_700_000_000, 1_700_000_000))
    (document,) = read(file)
    assert (document.kind, document.date) == ("html", "2023-11-14")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
def test_text_in_other_encodings_is_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "note.txt"
    file.write_bytes("Größere Hunde bellen überall schön laut, kleine Füchse nicht.".encode(encoding))
    assert "Größere Hunde bellen überall" in read(file)[0].text


def test_html_keeps_words_and_drops_scripts(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<html><body><h1>Cats</h1><p>They purr.</p><script>alert(1)</script></body></html>")
    (document,) = read(file)
    assert "# Cats" in document.text
    assert "They purr." in document.text
    assert "alert" not in document.text


def test_a_word_document_keeps_its_headings(tmp_path: Path) -> None:
    file = tmp_path / "report.docx"
    written = docx.Document()
    written.add_heading("Findings", level=1)
    written.add_paragraph("Cats purr at 25 hertz.")
    written.save(str(file))
    (document,) = read(file)
    assert "# Findings" in document.text
    assert "25 hertz" in document.text


def test_a_pdf_knows_where_its_pages_begin(tmp_path: Path) -> None:
    (document,) = read(make_pdf(tmp_path / "two.pdf", ["First page.", "Second page."]))
    assert len(document.page_starts) == 2
    assert document.text[document.page_starts[1] :].startswith("Second page.")


def test_a_scanned_pdf_is_not_a_success(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"2 pages and no text"):
        read(make_pdf(tmp_path / "scan.pdf", ["", ""]))


def write(pdf: FPDF, text: str, size: float = 11) -> None:
    pdf.set_font("Helvetica", size=size)
    pdf.multi_cell(0, size * 0.6, text, new_x="LMARGIN", new_y="NEXT")


def test_large_letters_of_a_pdf_are_headings_and_gaps_make_tables(tmp_path: Path) -> None:
    pdf, prose = FPDF(), "The keeper of the animals writes down what each of them eats on every day of the week. " * 6
    for page in (1, 2, 3):
        pdf.add_page()
        write(pdf, "The Animal Keepers' Monthly", 14)  # the head of each page names no section
        if page == 1:
            write(pdf, "Keeping animals", 20)
        write(pdf, f"{page} What the animals of\nhouse {page} eat", 16)
        write(pdf, prose)
        write(pdf, "# a comment\n" + prose)
    rows = [("Animal", "Food and water", "Kilograms"), ("Cat | tom", "Fish", "0.5"), ("Dog", "Meat", "12.25")]
    with pdf.table(borders_layout="NONE") as table:
        for cells in (*rows, ("Hen", "", "0.1")):
            row = table.row()
            for cell in cells:
                row.cell(cell, align="C" if cell in rows[0] else "R" if "." in cell else "L")
    write(pdf, prose)
    pdf.output(str(tmp_path / "animals.pdf"))
    (document,) = read(tmp_path / "animals.pdf")
    passages = split_document(document, WordTokenizer(), PassageSettings(max_tokens=300, overlap_tokens=0))
    assert {passage.title.split(" › Animal,")[0] for passage in passages if "keeper" in passage.text} == {
        f"Keeping animals › {page} What the animals of house {page} eat" for page in (1, 2, 3)
    }
    assert {passage.page for passage in passages if "house 2" in passage.title} <= {2, 3}
    assert (
        "\n".join(
            [
                "| Animal | Food and water | Kilograms |",
                "| --- | --- | --- |",
                "| Cat \\| tom | Fish | 0.5 |",
                "| Dog | Meat | 12.25 |",
                "| Hen |  | 0.1 |",
            ]
        )
        in document.text
    )
    assert "a comment" in document.text and "Monthly" in document.text


def test_lines_of_a_pdf_that_are_no_table_stay_as_they_are(tmp_path: Path) -> None:
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Courier", size=10)
    lines = ["def add(a, b):  # of two", "    return a + b", "1.   One thing", "2.   Another thing", "3.   A third"]
    for line in lines:
        pdf.cell(0, 6, line, new_x="LMARGIN", new_y="NEXT")
    pdf.output(str(tmp_path / "code.pdf"))
    (document,) = read(tmp_path / "code.pdf")
    assert "|" not in document.text
    assert [" ".join(line.split()) for line in document.text.split("\n")] == [" ".join(line.split()) for line in lines]


def test_csv_rows_are_documents(tmp_path: Path) -> None:
    file = tmp_path / "animals.csv"
    file.write_text("id;text;title\n7;Cats purr;Cats\n8;Dogs bark;Dogs\n", encoding="utf-8")
    assert [(d.id, d.title, d.text) for d in read(file)] == [("7", "Cats", "Cats purr"), ("8", "Dogs", "Dogs bark")]


def test_csv_rows_without_a_text_column_keep_every_column(tmp_path: Path) -> None:
    file = tmp_path / "animals.csv"
    file.write_text("animal,sound\ncat,purr\n", encoding="utf-8")
    (document,) = read(file)
    assert document.id == "animals.csv:1"
    assert document.text == "animal: cat\nsound: purr"


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_jsonl_records_are_documents_with_their_own_ids(tmp_path: Path, name: str) -> None:
    lines = b"".join(json.dumps({"id": i, "title": f"T{i}", "text": f"text {i}"}).encode() + b"\n" for i in (1, 2))
    file = tmp_path / name
    file.write_bytes(gzip.compress(lines) if name.endswith("gz") else lines)
    assert [(d.id, d.title, d.text) for d in read(file)] == [("1", "T1", "text 1"), ("2", "T2", "text 2")]


def test_files_of_a_folder_are_named_from_its_parent_and_hidden_ones_passed_over(tmp_path: Path) -> None:
    for name in ("b/readme.md", "a/readme.md", ".git/notes.txt", "a/picture.png"):
        file = tmp_path / "docs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    assert list(list_files([tmp_path / "docs"])[0]) == ["docs/a/readme.md", "docs/b/readme.md"]


def test_a_path_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is none"):
        list_files([tmp_path / "nowhere"])


def test_two_files_of_one_name_are_refused_and_not_merged(tmp_path: Path) -> None:
    for name in ("a/readme.md", "b/readme.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=r"Two of the files are called 'readme\.md'"):
        list_files([tmp_path / "a/readme.md", tmp_path / "b/readme.md"])
    assert len(list_files([tmp_path / "a/readme.md", tmp_path / "a/readme.md"])[0]) == 1
