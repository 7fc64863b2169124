"""Office files, web pages and e-books → Markdown: MarkItDown's converters, and sheets as tables."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, time
from pathlib import Path
from typing import Any

from indexes.errors import UnreadableFileError
from indexes.files import check_directory, check_size
from indexes.readers.pdf import join_pages
from indexes.readers.text import decode_text, read_whole

_CALLED = {
    ".docx": ("Word document (.docx)", "word/"),
    ".pptx": ("PowerPoint presentation (.pptx)", "ppt/"),
    ".xlsx": ("Excel workbook (.xlsx)", "xl/"),
    ".epub": ("e-book (.epub)", "META-INF/container.xml"),
}
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_SLIDE = re.compile(r"^<!-- Slide number: \d+ -->\n?", re.MULTILINE)
_IMAGE = re.compile(r"!\[([^\]\n]*)\]\(([^)\n]*)\)")


def read_html(file: Path) -> tuple[str, str]:
    """The page as Markdown and its title, "" if it has none."""
    return html_to_markdown(decode_text(read_whole(file)))


def html_to_markdown(html: str) -> tuple[str, str]:
    """The page as Markdown and its title, "" if it has none."""
    try:
        return _convert(html.encode("utf-8", "replace"), ".html")
    except Exception as error:  # hostile markup reaches corners of the parser that raise anything
        raise UnreadableFileError("The HTML cannot be read; open it in a browser and save it again.") from error


def read_package(file: Path, suffix: str) -> tuple[str, str]:
    """A docx, pptx or epub as Markdown, and the title that it gives itself."""
    content = open_package(file, suffix)
    try:
        markdown, title = _convert(content, suffix)
    except Exception as error:  # a damaged file raises anything, from KeyError to lxml's errors
        raise UnreadableFileError(f"The {_name(suffix)} is damaged; open and save it again, or export it.") from error
    return _IMAGE.sub(_image_text, markdown.replace("\x0b", "\n")), title


def read_slides(file: Path) -> tuple[str, tuple[int, ...]]:
    """The text of a presentation and where each slide begins in it."""
    markdown, _ = read_package(file, ".pptx")
    slides = [slide.strip() for slide in _SLIDE.split(markdown)[1:]]
    if not any(slides):
        raise UnreadableFileError(f"The presentation has {len(slides)} slide(s) and no text.")
    return join_pages(slides)


def open_package(file: Path, suffix: str) -> bytes:
    """The bytes of an Office document or e-book that holds what its name says, and not more than is sound."""
    content = read_whole(file)
    if content.startswith(_OLD_OFFICE):
        raise UnreadableFileError(
            f"The file asks for a password, or is of an Office before 2007; save it as {suffix} without a password."
        )
    try:
        check_directory(io.BytesIO(content))
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            check_size(package, len(content))
            names = package.namelist()
            locked = any(info.flag_bits & 1 for info in package.infolist())
            rights = package.read("META-INF/encryption.xml") if "META-INF/encryption.xml" in names else b""
    except UnreadableFileError:
        raise
    except Exception as error:  # zipfile raises more than BadZipFile on hostile bytes
        if content.startswith(b"PK"):
            raise UnreadableFileError(
                f"The {_name(suffix)} is damaged; open and save it again, or export it."
            ) from error
        raise UnreadableFileError(f"The name says {_name(suffix)}, but the content is something else.") from error
    if not any(name.startswith(_CALLED[suffix][1]) for name in names):
        raise UnreadableFileError(f"The name says {_name(suffix)}, but the content is another kind of zip file.")
    if locked or re.search(rb"\.x?html?[\"']", rights):
        raise UnreadableFileError(f"The {_name(suffix)} is encrypted; save it without protection.")
    return content


def _name(suffix: str) -> str:
    return _CALLED[suffix][0]


def _convert(content: bytes, suffix: str) -> tuple[str, str]:
    # The converter itself, because MarkItDown falls back to reading a damaged file as plain text.
    from markitdown import StreamInfo, converters

    made: dict[str, Any] = {
        ".html": converters.HtmlConverter,
        ".docx": converters.DocxConverter,
        ".pptx": converters.PptxConverter,
        ".epub": converters.EpubConverter,
    }
    result = made[suffix]().convert(io.BytesIO(content), StreamInfo(extension=suffix, charset="utf-8"))
    return result.markdown, " ".join((result.title or "").split())


def _image_text(image: re.Match[str]) -> str:
    """What is said about a picture; nothing if that is only the name that the program gave it."""
    alt, target = image.groups()
    return "" if re.sub(r"\W", "", alt) + ".jpg" == target else alt


_MAX_GAP = 10_000  # empty rows after which a sheet is at its end: one stray cell can stand in row 1,048,576


def read_workbook(file: Path) -> str:
    """The cells' values, as last computed; hidden sheets are read too, empty ones left out."""
    content = open_package(file, ".xlsx")
    try:
        from openpyxl import load_workbook

        with closing(load_workbook(io.BytesIO(content), read_only=True, data_only=True)) as workbook:
            sheets = [(sheet.title, _table(sheet)) for sheet in workbook.worksheets]
    except Exception as error:  # a damaged file raises anything, from KeyError to the XML parser's errors
        raise UnreadableFileError("The Excel workbook (.xlsx) is damaged; open and save it again.") from error
    filled = [f"# {' '.join(title.split())}\n\n{table}" for title, table in sheets if table]
    if not filled:
        raise UnreadableFileError(f"The workbook has {len(sheets)} sheet(s) and no text.")
    return "\n\n".join(filled)


def _table(sheet: Any) -> str:
    rows = list(_rows(sheet))
    if not rows:
        return ""
    first = min(next(number for number, cell in enumerate(row) if cell) for row in rows)
    width = max(len(row) for row in rows)
    lines = [_line([*row, *[""] * (width - len(row))][first:]) for row in rows]
    return "\n".join([lines[0], _line(["---"] * (width - first)), *lines[1:]])


def _rows(sheet: Any) -> Iterator[list[str]]:
    """The rows that have a value, each up to its last one."""
    sheet.reset_dimensions()  # what a file claims its size to be is not to be believed
    n_empty = 0
    for row in sheet.iter_rows(values_only=True):
        cells = [_cell(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        n_empty = 0 if cells else n_empty + 1
        if n_empty > _MAX_GAP:
            return
        if cells:
            yield cells


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.12g}"
    return " ".join(str(value).split()).replace("|", "\\|")


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
