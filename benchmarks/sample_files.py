"""One real file of every format, made by the library that people write it with; tests read the same files."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import docx
import openpyxl
import pptx
from fpdf import FPDF

_PYTHON = '''"""Cats, as a program."""


class Cat:
    """A cat purrs."""

    def purr(self) -> int:
        return 25  # hertz


def feed(cat: Cat) -> None:
    cat.purr()
'''
_BRACES = {
    "js": "// Cats purr at 25 hertz.\nfunction purr(cat) {\n  return 25;\n}\n\nclass Cat {\n  feed() {}\n}\n",
    "ts": "// Cats purr at 25 hertz.\nfunction purr(cat: string): number {\n  return 25;\n}\n\ninterface Cat {}\n",
    "java": "// Cats purr at 25 hertz.\nclass Cat {\n  public int purr() {\n    return 25;\n  }\n}\n",
    "go": "package cats\n\n// Cats purr at 25 hertz.\nfunc purr() int {\n\treturn 25\n}\n\ntype Cat struct{}\n",
    "c": "/* Cats purr at 25 hertz. */\nint purr(void) {\n  return 25;\n}\n",
    "h": "/* Cats purr at 25 hertz. */\nint purr(void);\n",
    "cpp": "// Cats purr at 25 hertz.\nclass Cat {\n public:\n  int purr() { return 25; }\n};\n",
    "rs": "// Cats purr at 25 hertz.\nfn purr() -> u32 {\n    25\n}\n\nstruct Cat;\n",
    **dict.fromkeys(("jsx", "tsx", "cc", "hpp", "cs", "php", "kt", "swift", "scala"), "// Cats purr at 25 hertz.\n"),
    **dict.fromkeys(("rb", "pl", "r", "sh", "yaml", "toml", "log", "tex", "org"), "# Cats purr at 25 hertz.\n"),
    **dict.fromkeys(("lua", "sql"), "-- Cats purr at 25 hertz.\n"),
    "srt": "1\n00:00:01,000 --> 00:00:02,000\nCats purr at 25 hertz.\n",
    "xml": "<cat><sound>Cats purr at 25 hertz.</sound></cat>\n",
    "rtf": "{\\rtf1\\ansi\\deff0 {\\fonttbl {\\f0 Arial;}}\\f0 Cats \\b purr\\b0  at 25 hertz.\\par}",
    "ipynb": json.dumps({"cells": [{"cell_type": "markdown", "source": ["Cats purr at ", "25 hertz."]}]}),
    "mbox": "From mia Fri Nov 14 12:00:00 2025\nSubject: Cats\n\nCats purr at 25 hertz.\n",
}
_MARKDOWN = "# Animals\n\n## Cats\n\nCats purr at 25 hertz.\n\n| cat | hertz |\n| --- | --- |\n| Mia | 25 |\n"
_RST = "Animals\n=======\n\nCats\n----\n\nCats purr at 25 hertz.\n"
_HTML = (
    "<!doctype html><html><head><title>All about cats</title></head><body><h1>Cats</h1><p>Cats purr at 25 hertz.</p>"
    "<table><tr><th>cat</th><th>hertz</th></tr><tr><td>Mia</td><td>25</td></tr></table>"
    "<script>alert(1)</script></body></html>"
)
_RECORDS = [
    {"id": "cat", "title": "Cats", "text": "Cats purr at 25 hertz."},
    {"id": "dog", "title": "Dogs", "text": "Dogs bark at the postman."},
]
_ROWS = [["animal", "sound"], ["cat", "Cats purr at 25 hertz."], ["dog", "Dogs bark, loudly."]]


def write_samples(folder: Path) -> list[Path]:
    """The files, written into `folder`, in the order in which the formats are named to people."""
    files = []
    for name, make in _makers().items():
        file = folder / name
        content = make()
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        files.append(file)
    return files


def _makers() -> dict[str, Callable[[], str | bytes]]:
    jsonl = "".join(json.dumps(record) + "\n" for record in _RECORDS)
    plain: dict[str, str | bytes] = {
        "note.txt": "Cats purr at 25 hertz.\n",
        "latin.txt": "Größere Katzen schnurren überall schön laut, kleine Füchse nicht.\n".encode("latin-1"),
        "guide.md": _MARKDOWN,
        "guide.rst": _RST,
        "page.html": _HTML,
        "rows.csv": table_text(","),
        "rows.tsv": table_text("\t"),
        "records.json": json.dumps(_RECORDS, indent=2),
        "records.jsonl": jsonl,
        "records.jsonl.gz": gzip.compress(jsonl.encode()),
        "rows.csv.gz": gzip.compress(table_text(",").encode()),
        "note.txt.gz": gzip.compress(b"Cats purr at 25 hertz.\n"),
        "cats.py": _PYTHON,
        **{f"cats.{suffix}": code for suffix, code in _BRACES.items()},
    }
    made: dict[str, Callable[[], str | bytes]] = {
        "paper.pdf": lambda: pdf_bytes(["Cats purr at 25 hertz.", "Dogs bark at the postman."]),
        "report.docx": docx_bytes,
        "talk.pptx": pptx_bytes,
        "book.xlsx": xlsx_bytes,
        "novel.epub": epub_bytes,
        "letter.eml": mail_bytes,
    }
    return {name: (lambda content=content: content) for name, content in plain.items()} | made


def table_text(delimiter: str) -> str:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator="\n").writerows(_ROWS)
    return written.getvalue()


def pdf_bytes(pages: list[str], *, password: str = "") -> bytes:
    """A PDF with these pages; a page without text is an empty one, as a scanned page is to a reader."""
    pdf = FPDF()
    pdf.set_font("Helvetica", size=12)
    if password:
        pdf.set_encryption(owner_password="owner", user_password=password)  # noqa: S106
    for page in pages:
        pdf.add_page()
        if page:
            pdf.multi_cell(0, 10, page)
    return bytes(pdf.output())


def docx_bytes() -> bytes:
    document = docx.Document()
    document.add_heading("Findings", level=1)
    document.add_heading("Cats", level=2)
    document.add_paragraph("Cats purr at 25 hertz.")
    table = document.add_table(rows=2, cols=2)
    for row, values in zip(table.rows, (("cat", "hertz"), ("Mia", "25")), strict=True):
        for cell, value in zip(row.cells, values, strict=True):
            cell.text = value
    return _saved(document)


def pptx_bytes() -> bytes:
    talk = pptx.Presentation()
    for title, text in (("Cats", "Cats purr at 25 hertz."), ("Dogs", "Dogs bark at the postman.")):
        slide = talk.slides.add_slide(talk.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
    return _saved(talk)


def xlsx_bytes() -> bytes:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.title = "Sounds"
    for row in _ROWS:
        sheet.append(row)
    workbook.create_sheet("Weights").append(["cat", 4.5])
    return _saved(workbook)


def _saved(document: object) -> bytes:
    written = io.BytesIO()
    document.save(written)  # type: ignore[attr-defined]
    return written.getvalue()


def epub_bytes() -> bytes:
    """An EPUB 3 by hand, after the Open Container Format: the type first and unpacked, then the parts."""
    chapters = {"one": ("Cats", "Cats purr at 25 hertz."), "two": ("Dogs", "Dogs bark at the postman.")}
    items = "".join(f'<item id="{c}" href="{c}.xhtml" media-type="application/xhtml+xml"/>' for c in chapters)
    spine = "".join(f'<itemref idref="{chapter}"/>' for chapter in chapters)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
            '<rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/>'
            "</rootfiles></container>",
        )
        book.writestr(
            "OEBPS/content.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
            '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Cat Book</dc:title></metadata>'
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
        )
        for chapter, (title, text) in chapters.items():
            page = f'<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>{title}</h1><p>{text}</p></body></html>'
            book.writestr(f"OEBPS/{chapter}.xhtml", page)
    return written.getvalue()


def mail_bytes() -> bytes:
    mail = EmailMessage()
    mail["From"] = "Mia <mia@example.org>"
    mail["To"] = "Rex <rex@example.org>"
    mail["Date"] = "Tue, 14 Nov 2023 10:00:00 +0000"
    mail["Subject"] = "Über das Schnurren"
    mail.set_content("Cats purr at 25 hertz.\n")
    mail.add_alternative("<p>Cats purr at <b>25</b> hertz.</p>", subtype="html")
    mail.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="proof.pdf")
    return mail.as_bytes()
