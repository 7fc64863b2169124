"""Any supported file → `Document`s."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indexes.errors import InputError, UnreadableFileError
from indexes.types import Document

TEXT_SUFFIXES = (".txt", ".md", ".markdown", ".html", ".htm")
SUPPORTED_SUFFIXES = (*TEXT_SUFFIXES, ".pdf", ".docx", ".csv", ".jsonl", ".jsonl.gz")
_PAGE_BREAK = "\n\n"
csv.field_size_limit(2**31 - 1)


def list_files(given: Sequence[Path]) -> list[tuple[str, Path]]:
    """(source name, file) of each file in `given`, folders walked in sorted order.

    A file's source name is its own name; a file in a folder is named by its path from that folder's parent, so two
    `readme.md` of one folder stay apart. Hidden files, and files of a folder with other suffixes, are passed over.
    """
    found: dict[str, Path] = {}
    for path in given:
        if not path.exists():
            raise InputError(f"A file or folder was expected at '{path}', but there is none. Check the path.")
        if path.is_dir():
            root = path.resolve()
            inside = sorted(file for file in root.rglob("*") if _is_wanted(file, root))
            found |= {file.relative_to(root.parent).as_posix(): file for file in inside}
        elif path.name in found and found[path.name].resolve() != path.resolve():
            raise InputError(
                f"Two of the files are called '{path.name}', and a corpus knows its files by name. Rename one, or give "
                "the folder that holds both."
            )
        else:
            found[path.name] = path
    return list(found.items())


def _is_wanted(file: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
    return file.is_file() and not file.is_symlink() and not hidden and suffix_of(file.name) in SUPPORTED_SUFFIXES


def suffix_of(name: str) -> str:
    """The lower-case suffix of a file name, `.jsonl.gz` taken as one."""
    lower = name.lower()
    return ".jsonl.gz" if lower.endswith(".jsonl.gz") else Path(lower).suffix


def kind_of(name: str) -> str:
    """The type of a file by its name, as a filter knows it: md, html, pdf, jsonl …; packed or not is the same."""
    kind = suffix_of(name).removesuffix(".gz").removeprefix(".")
    return {"markdown": "md", "htm": "html"}.get(kind, kind)


def read_documents(file: Path, source: str) -> Iterator[Document]:
    """The documents in `file`: one, or one a record for csv and jsonl; each has its kind and the file's day.

    Raises `UnreadableFileError` with a sentence for people when the file is empty, has no text, or is not what its
    name says.
    """
    day = datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()
    for document in _read_documents(file, source):
        yield replace(document, kind=kind_of(source), date=document.date or day)


def _read_documents(file: Path, source: str) -> Iterator[Document]:
    suffix = suffix_of(source)
    if suffix not in SUPPORTED_SUFFIXES:
        raise UnreadableFileError(f"'{suffix or source}' files cannot be read; supported: {_list(SUPPORTED_SUFFIXES)}.")
    if file.stat().st_size == 0:
        raise UnreadableFileError("The file is empty.")
    if suffix in (".jsonl", ".jsonl.gz"):
        return _read_jsonl(file, source)
    if suffix == ".csv":
        return _read_csv(file, source)
    document = _read_pdf(file, source) if suffix == ".pdf" else _read_text_like(file, source, suffix)
    if not document.text.strip():
        raise UnreadableFileError("The file contains no text.")
    return iter([document])


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _read_text_like(file: Path, source: str, suffix: str) -> Document:
    if suffix in (".txt", ".md", ".markdown"):
        text = decode_text(file.read_bytes())
    elif suffix == ".docx":
        text = _read_docx(file)
    else:
        text = _to_markdown(decode_text(file.read_bytes()).encode(), ".html")
    return Document(id=source, source=source, title=Path(source).stem, text=text)


def _read_docx(file: Path) -> str:
    content = file.read_bytes()
    if not content.startswith(b"PK"):
        raise UnreadableFileError("The name says Word document (.docx), but the content is something else.")
    try:
        return _to_markdown(content, ".docx")
    except Exception as error:
        raise UnreadableFileError("The Word document is damaged; open and save it again, or export it.") from error


def _to_markdown(content: bytes, suffix: str) -> str:
    # The converter itself, because MarkItDown falls back to reading a damaged file as plain text.
    from markitdown import StreamInfo
    from markitdown.converters import DocxConverter, HtmlConverter

    converter = DocxConverter() if suffix == ".docx" else HtmlConverter()  # type: ignore[no-untyped-call]
    info = StreamInfo(extension=suffix, charset="utf-8")
    markdown: str = converter.convert(io.BytesIO(content), info).markdown
    return markdown


def decode_text(content: bytes) -> str:
    """`content` as text: UTF-8 (or UTF-16 by its mark) if it is that, otherwise the likeliest encoding."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace").replace("\r\n", "\n")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = _guess_encoding(content)
    if "\x00" in text:
        raise UnreadableFileError("The name says text, but the content is binary.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _guess_encoding(content: bytes) -> str:
    from charset_normalizer import from_bytes

    if b"\x00" in content:
        raise UnreadableFileError("The name says text, but the content is binary.")
    best = from_bytes(content).best()
    if best is None:
        raise UnreadableFileError("The text's encoding cannot be told; save the file as UTF-8.")
    return str(best)


def _read_pdf(file: Path, source: str) -> Document:
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as error:
        sentence = "The PDF asks for a password; save it without one." if "assword" in str(error) else _NOT_A_PDF
        raise UnreadableFileError(sentence) from error
    try:
        pages = [page.get_textpage().get_text_range().replace("\r\n", "\n").strip() for page in pdf]
    finally:
        pdf.close()
    if not any(pages):
        raise UnreadableFileError(
            f"The PDF has {len(pages)} page(s) and no text: it seems to be scanned. Run OCR on it first."
        )
    starts, offset = [], 0
    for page in pages:
        starts.append(offset)
        offset += len(page) + len(_PAGE_BREAK)
    text = _PAGE_BREAK.join(pages)
    return Document(id=source, source=source, title=Path(source).stem, text=text, page_starts=tuple(starts))


_NOT_A_PDF = "The name says PDF, but the content is damaged or something else."


def _read_csv(file: Path, source: str) -> Iterator[Document]:
    text = decode_text(file.read_bytes())
    try:
        dialect: Any = csv.Sniffer().sniff(text[:8192], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    rows = csv.DictReader(io.StringIO(text), dialect=dialect)
    if not rows.fieldnames:
        raise UnreadableFileError("A header line with column names was expected, but there is none.")
    n_read = 0
    for number, row in enumerate(rows, start=1):
        values = {key: value.strip() for key, value in row.items() if key and isinstance(value, str) and value.strip()}
        if document := _record_document(values, source, number, default_text=_row_text(values)):
            n_read += 1
            yield document
    if not n_read:
        raise UnreadableFileError("The table has a header but no rows with text.")


def _row_text(values: dict[str, str]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in values.items())


def _read_jsonl(file: Path, source: str) -> Iterator[Document]:
    open_lines: Any = gzip.open if source.lower().endswith(".gz") else open
    n_read = 0
    try:
        with open_lines(file, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip() and (document := _parse_record(line, source, number)):
                    n_read += 1
                    yield document
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnreadableFileError("The name says gzip (.gz), but the content is damaged or something else.") from error
    if not n_read:
        raise UnreadableFileError("No record with text was found.")


def _parse_record(line: bytes, source: str, number: int) -> Document | None:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"Line {number} is not JSON; each line must be one record with a text.") from error
    if not isinstance(record, dict):
        raise UnreadableFileError(f'Line {number} is not a record; expected {{"id": …, "title": …, "text": …}}.')
    return _record_document(record, source, number, default_text="")


def _record_document(record: dict[str, Any], source: str, number: int, *, default_text: str) -> Document | None:
    """The record as a document: `text` (or `contents`) and `title`, its `id` or else its line; None without text."""
    text = str(record.get("text") or record.get("contents") or default_text)
    title = str(record.get("title") or "")
    if not text.strip():
        return None
    given = record.get("id", record.get("_id"))
    identifier = f"{source}:{number}" if given is None or given == "" else str(given)
    return Document(id=identifier, source=source, title=title, text=text)
