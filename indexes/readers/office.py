"""Office files, web pages and e-books → Markdown: MarkItDown's converters, and sheets as tables."""

from __future__ import annotations

import io
import json
import posixpath
import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, time
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import unquote

from indexes.errors import UnreadableFileError, counted
from indexes.files import check_directory, check_size
from indexes.readers.pdf import join_pages
from indexes.readers.records import find_header
from indexes.readers.text import Text, decode_text, read_whole

_CALLED = {
    ".docx": ("Word document (.docx)", "word/"),
    ".pptx": ("PowerPoint presentation (.pptx)", "ppt/"),
    ".xlsx": ("Excel workbook (.xlsx)", "xl/"),
    ".epub": ("e-book (.epub)", "META-INF/container.xml"),
}
_OLD_OFFICE = b"\xd0\xcf\x11\xe0"
_SLIDE = re.compile(r"^<!-- Slide number: \d+ -->\n?", re.MULTILINE)
_CHARSET = re.compile(
    rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w-]+)|<\?xml[^>]{0,200}encoding=[\"']([\w-]+)", re.IGNORECASE
)
_UNSEEN = ("script", "style", "template", "noscript", "svg", "nav", "iframe", "object", "dialog")
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_FRAME_ROLES = ("navigation", "banner", "contentinfo", "search", "menu", "menubar")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_FOOTER = re.compile(r"(?:^|[ _-])footer(?:$| )", re.IGNORECASE)
_MENU = re.compile(r"(?:^|[ _-])(?:nav|navbar|navigation|menu|sidebar|breadcrumbs?|toolbar)(?:$|[ _-])", re.IGNORECASE)
_CONSENT = re.compile(
    r"(?:^|[ _-])(?:consent|(?:cookies?|gdpr)"
    r"(?:[_-]?(?:banner|bar|box|notice|consent|popup|modal|law|message|info|overlay|wall))?|cc-(?:window|banner)"
    r"|(?:onetrust|cybotcookiebot|usercentrics|didomi|truste|qc-cmp)[\w-]*)(?:$| )",
    re.IGNORECASE,
)
_MAX_BANNER = 1000  # characters of a notice about cookies; what is longer is a page about them
_APART = ("button", "dd", "details", "dt", "label", "legend", "option", "select", "summary", "textarea")
_W = {"w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main"}
_WORD_PART = re.compile(r"word/(document|header|footer|comment)s?\d*\.xml")
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell [^<>]*ref=\"([A-Z]+\d+:[A-Z]+\d+)\"")
_NO_VALUE = re.compile(
    rb"<(?:\w+:)?f(?: [^<>]*)?(?:/>|>[^<]*</(?:\w+:)?f>)\s*+"  # a formula, and then no value or an empty one
    rb"(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v></(?:\w+:)?v>)?\s*+</(?:\w+:)?c>"
)
_LITERAL = re.compile(r'"([^"]*)"|\\(.)|\[\$([^\[\]-]*+)[^\[\]]*+\]|\[[^\[\]]*+\]|_.|\*.')
_NUMBER_SHAPE = re.compile(r"([^#0,.?%E]*+)([#0,?]++)(\.[0#?]+)?(\s?%)?([^#0,.?%E]*)")
_IMAGE = re.compile(r"!\[([^\[\]\n]*+)\]\(((?:[^()\n]++|\([^()\n]*+\))*+)\)")


def read_html(file: Path) -> Text:
    """The page as Markdown and its title, without its menus and what is hidden."""
    markdown, title = html_to_markdown(decode_html(read_whole(file)))
    return Text(text=markdown, title=title)


def decode_html(content: bytes) -> str:
    """The page as text: in the encoding that it names, or else the likeliest."""
    named = _CHARSET.search(content[:4096])
    try:
        return content.decode((named[1] or named[2]).decode("ascii")) if named else decode_text(content)
    except (LookupError, ValueError):
        return decode_text(content)


def html_to_markdown(html: str) -> tuple[str, str]:
    """The page as Markdown and its title, "" if it has none."""
    from bs4 import BeautifulSoup

    page = BeautifulSoup(html.encode("utf-8", "replace"), "html.parser", from_encoding="utf-8")
    n_before = len(page.get_text())
    for element in page.find_all(_APART):
        element.insert(0, "\n")
        element.append("\n")  # its text does not run into that of its neighbours
    for element in page.find_all(_is_boilerplate):
        if not element.decomposed:
            element.decompose()
    is_all_frame = 20 * len(page.get_text()) < n_before and not page.find("main")
    return _convert((html if is_all_frame else str(page)).encode("utf-8", "replace"), ".html")


def _is_boilerplate(element: Any) -> bool:
    """Whether a browser hides it, or it frames the content: a menu, a banner, the footer."""
    attributes = element.attrs or {}
    if element.name in _UNSEEN or "hidden" in attributes or _HIDDEN.search(str(attributes.get("style", ""))):
        return True
    if attributes.get("aria-hidden") == "true" or attributes.get("role") in _FRAME_ROLES:
        return True
    names = " ".join([str(attributes.get("id", "")), *map(str, attributes.get("class") or [])])
    is_end, is_menu = element.name in ("header", "footer") or bool(_FOOTER.search(names)), bool(_MENU.search(names))
    if not (is_end or is_menu or _CONSENT.search(names)):
        return False
    if element.find_parent(("article", "main", "section", "blockquote")) or element.find(_HEADINGS if is_end else "h1"):
        return False
    text = element.get_text().strip()
    if is_menu and not is_end:
        return 2 * sum(len(link.get_text()) for link in element.find_all("a")) > len(text)
    return is_end or len(text) < _MAX_BANNER


def read_word(file: Path) -> Text:
    """A Word document as Markdown: fields as their last result, no hidden text; then headers, footers and comments."""
    content, beside = _plain_word(open_package(file, ".docx"))
    markdown, title = _read_package(content, ".docx")
    return Text(text="\n\n".join(filter(None, (markdown, *beside))), title=title)


def _plain_word(content: bytes) -> tuple[bytes, list[str]]:
    """The package with its fields unwrapped and hidden runs taken out, and the text of the parts beside the body."""
    from lxml import etree

    written, beside = io.BytesIO(), []
    with zipfile.ZipFile(io.BytesIO(content)) as package, zipfile.ZipFile(written, "w") as plain:
        for name in package.namelist():
            part = package.read(name)
            kind = _WORD_PART.fullmatch(name)
            if kind:
                root = etree.fromstring(part, etree.XMLParser(resolve_entities=False, huge_tree=False))
                for run in root.xpath(".//w:r[w:rPr/w:vanish[not(@w:val='0' or @w:val='false')]]", namespaces=_W):
                    run.getparent().remove(run)
                etree.strip_tags(root, *(f"{{{_W['w']}}}{tag}" for tag in ("fldSimple", "smartTag")))
                part = etree.tostring(root)
                said = "" if kind[1] == "document" else _paragraphs(root)
                if said and (line := f"{kind[1].capitalize()}: {said}") not in beside:
                    beside.append(line)
            plain.writestr(name, part)
    return written.getvalue(), beside


def _paragraphs(root: Any) -> str:
    texts = ("".join(p.xpath(".//w:t/text()", namespaces=_W)).strip() for p in root.iter(f"{{{_W['w']}}}p"))
    return "\n".join(filter(None, texts))


def read_book(file: Path) -> Text:
    """An e-book's chapters as Markdown, in the order in which they are read."""
    with zipfile.ZipFile(io.BytesIO(open_package(file, ".epub"))) as book:
        metadata, chapters, missing = _chapters(book)
    if not any(chapters):
        raise UnreadableFileError("The e-book has no chapter with text; it may hold pictures of its pages only.")
    title = metadata.get("Title", "")
    head = "\n".join(f"**{name}:** {value}" for name, value in metadata.items())
    note = f"{missing} of {missing + len(chapters)} chapters are missing in the file." if missing else ""
    return Text(text="\n\n".join(filter(None, (head, *chapters))), title=title, note=note)


def _chapters(book: zipfile.ZipFile) -> tuple[dict[str, str], list[str], int]:
    """(title and authors, each chapter as Markdown, how many chapters are named and not there), by the package file."""
    root = _xml(book.read("META-INF/container.xml"))
    package_name = next(str(each.get("full-path")) for each in root.iter("{*}rootfile"))
    package, folder = _xml(book.read(package_name)), PurePosixPath(package_name).parent
    named = {"Title": "{*}title", "Authors": "{*}creator", "Language": "{*}language"}
    found = {
        name: ", ".join(" ".join((each.text or "").split()) for each in package.iter(tag))
        for name, tag in named.items()
    }
    hrefs = {each.get("id"): unquote(str(each.get("href"))) for each in package.iter("{*}item")}
    spine = [hrefs.get(each.get("idref"), "") for each in package.iter("{*}itemref")]
    there, chapters, missing = set(book.namelist()), [], 0
    for href in spine:
        name = posixpath.normpath((folder / href).as_posix())
        if name in there:
            chapters.append(html_to_markdown(decode_html(book.read(name)))[0].strip())
        else:
            missing += 1
    return {name: value for name, value in found.items() if value}, chapters, missing


def _xml(content: bytes) -> Any:
    from lxml import etree

    return etree.fromstring(content, etree.XMLParser(resolve_entities=False, recover=True))


def read_slides(file: Path) -> Text:
    """The text of a presentation and where each slide begins in it."""
    markdown, _ = _read_package(open_package(file, ".pptx"), ".pptx")
    slides = [slide.strip() for slide in _SLIDE.split(markdown)[1:]]
    if not any(slides):
        raise UnreadableFileError(f"The presentation has {counted(len(slides), 'slide')} and no text.")
    text, starts = join_pages(slides)
    return Text(text=text, page_starts=starts)


def read_rtf(file: Path) -> Text:
    """The text of a Rich Text file."""
    from striprtf.striprtf import rtf_to_text

    content = read_whole(file)
    if not content.lstrip().startswith(b"{\\rtf"):
        raise UnreadableFileError("The name says Rich Text (.rtf), but the content is something else.")
    return Text(text=rtf_to_text(content.decode("latin-1"), errors="replace"))  # type: ignore[no-untyped-call]


def read_notebook(file: Path) -> Text:
    """The cells of a Jupyter notebook: its prose as Markdown, its code in fences, and what the code printed."""
    try:
        book = json.loads(decode_text(read_whole(file)))
        language = str(book.get("metadata", {}).get("kernelspec", {}).get("language", ""))
        sheets = [book, *book.get("worksheets", [])]  # format 3 had sheets
        cells = [_cell_text(cell, language) for sheet in sheets for cell in sheet.get("cells", [])]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UnreadableFileError("The name says notebook (.ipynb), but the content is something else.") from error
    return Text(text="\n\n".join(filter(None, cells)))


def _cell_text(cell: dict[str, Any], language: str) -> str:
    source = _joined(cell.get("source") or cell.get("input") or "").strip()
    if cell.get("cell_type") != "code":
        return source
    printed = [
        _joined(out.get("text") or out.get("data", {}).get("text/plain") or "") for out in cell.get("outputs", [])
    ]
    blocks = [
        f"```{language}\n{source}\n```" if source else "",
        *(f"```\n{text.strip()}\n```" for text in printed if text.strip()),
    ]
    return "\n\n".join(filter(None, blocks))


def _joined(lines: Any) -> str:
    return "".join(lines) if isinstance(lines, list) else str(lines)


def open_package(file: Path, suffix: str) -> bytes:
    """The bytes of an Office document or e-book that holds what its name says, and not more than is sound."""
    content = read_whole(file)
    if content.startswith(_OLD_OFFICE):
        raise UnreadableFileError(
            f"The file asks for a password, or is of an Office before 2007; save it as {suffix} without a password."
        )
    called, inside = _CALLED[suffix]
    if not content.startswith(b"PK"):
        raise UnreadableFileError(f"The name says {called}, but the content is something else.")
    check_directory(io.BytesIO(content))
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        check_size(package, len(content))
        names = package.namelist()
        locked = any(info.flag_bits & 1 for info in package.infolist())
        rights = package.read("META-INF/encryption.xml") if "META-INF/encryption.xml" in names else b""
    if not any(name.startswith(inside) for name in names):
        raise UnreadableFileError(f"The name says {called}, but the content is another kind of zip file.")
    if locked or re.search(rb"\.x?html?[\"']", rights):
        raise UnreadableFileError(f"The {called} is encrypted; save it without protection.")
    return content


def _read_package(content: bytes, suffix: str) -> tuple[str, str]:
    """A docx or pptx as Markdown, and the title that it gives itself."""
    markdown, title = _convert(content, suffix)
    return _IMAGE.sub(_image_text, markdown.replace("\x0b", "\n")), title


def _convert(content: bytes, suffix: str) -> tuple[str, str]:
    # The converter itself, because MarkItDown falls back to reading a damaged file as plain text.
    from markitdown import StreamInfo, converters

    made: dict[str, Any] = {
        ".html": converters.HtmlConverter,
        ".docx": converters.DocxConverter,
        ".pptx": converters.PptxConverter,
    }
    result = made[suffix]().convert(io.BytesIO(content), StreamInfo(extension=suffix, charset="utf-8"))
    return result.markdown, " ".join((result.title or "").split())


def _image_text(image: re.Match[str]) -> str:
    """What is said about a picture; nothing if that is only the name that the program gave it."""
    alt, target = image.groups()
    return "" if re.sub(r"\W", "", alt) + ".jpg" == target else alt


_MAX_GAP = 10_000  # empty rows after which a sheet is at its end: one stray cell can stand in row 1,048,576


def read_workbook(file: Path) -> Text:
    """The cells as their formats show them, as last computed; hidden sheets are read too, empty ones left out."""
    from openpyxl.reader.excel import ExcelReader

    reader = ExcelReader(io.BytesIO(open_package(file, ".xlsx")), read_only=True, data_only=True)
    with closing(reader.archive) as archive:
        reader.read()
        parts = (part for _, part in reader.parser.find_sheets() if "chartsheet" not in part.Type)
        sheets = zip(reader.wb.worksheets, (p for p in parts if p.target in reader.valid_files), strict=True)
        read = [(sheet.title, *_sheet(sheet, archive.open(part.target))) for sheet, part in sheets]
    filled = [f"# {' '.join(title.split())}\n\n{table}" for title, table, _ in read if table]
    if not filled:
        raise UnreadableFileError(f"The workbook has {counted(len(read), 'sheet')} and no text.")
    n_unknown = sum(n for *_, n in read)
    note = f"{n_unknown} formulas have no stored value: open the workbook in Excel and save it." if n_unknown else ""
    return Text(text="\n\n".join(filled), note=note)


def _sheet(sheet: Any, xml: IO[bytes]) -> tuple[str, int]:
    """The sheet as a table, below the lines that stand above it, and how many formulas in it have no value."""
    merged, n_unknown = _sheet_marks(xml)
    rows = list(_rows(sheet, merged))
    if not rows:
        return "", n_unknown
    first = min(next(number for number, cell in enumerate(row) if cell) for row in rows)
    header = find_header(rows)
    table = [row[first:] for row in rows[header:]]
    width = max(len(row) for row in table)
    lines = [_line([*row, *[""] * (width - len(row))]) for row in table]
    above = [" ".join(filter(None, row)) for row in rows[:header]]
    return "\n".join([*above, *[""] * bool(above), lines[0], _line(["---"] * width), *lines[1:]]), n_unknown


def _sheet_marks(xml: IO[bytes]) -> tuple[dict[int, list[tuple[int, int]]], int]:
    """What the quick reading of a sheet leaves out, from its XML: ({column: rows (first, last) that are merged in it},
    how many formulas have no value)."""
    from openpyxl.utils.cell import range_boundaries

    merged: dict[int, list[tuple[int, int]]] = {}
    n_unknown, held = 0, b""
    with xml:
        while chunk := xml.read(2**20):
            held += chunk
            cut = held.rfind(b"<c ") if len(chunk) == 2**20 else len(held)
            n_unknown += len(_NO_VALUE.findall(held, 0, max(cut, 0)))
            for found in _MERGED.finditer(held, 0, max(cut, 0)):
                column, top, _, bottom = range_boundaries(found[1].decode("ascii"))
                if top and bottom and bottom > top:
                    merged.setdefault(column, []).append((top, bottom))
            held = held[max(cut, 0) :]
    return merged, n_unknown


def _rows(sheet: Any, merged: dict[int, list[tuple[int, int]]]) -> Iterator[list[str]]:
    """The rows that have a value, each up to its last one; a label that is merged over rows stands in each of them."""
    sheet.reset_dimensions()  # what a file claims its size to be is not to be believed
    n_empty, labels = 0, {(column, top): "" for column, spans in merged.items() for top, _ in spans}
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [_cell(cell.value, getattr(cell, "number_format", "")) for cell in row]
        is_empty = not any(cells)
        for column, spans in merged.items():
            for top, bottom in spans:
                if column <= len(cells) and number == top:
                    labels[column, top] = cells[column - 1]
                elif top < number <= bottom and not is_empty:
                    cells += [""] * (column - len(cells))
                    cells[column - 1] = labels[column, top]
        while cells and not cells[-1]:
            cells.pop()
        n_empty = n_empty + 1 if is_empty else 0
        if n_empty > _MAX_GAP:
            return
        if cells and not is_empty:
            yield cells


def _cell(value: Any, shape: str = "") -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value, shape).replace("|", "\\|")
    return " ".join(str(value).split()).replace("|", "\\|")


def format_number(value: float, shape: str) -> str:
    """The number as an Excel format such as `00000`, `0.0%` or `#,##0.00 "kg"` shows it; plainly by any other."""
    plain = str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.12g}"
    found = _NUMBER_SHAPE.fullmatch(_LITERAL.sub(_literal, shape.split(";")[0]))
    if not found:
        return plain
    before, whole, decimals, percent, after = found.groups()
    n_decimals, n_digits = len(decimals or ".") - 1, whole.count("0")
    if not percent and n_digits < 2 and "," not in whole and not (before or after) and not n_decimals:
        return plain  # the usual format, or one that would round
    scaled = value * 100 if percent else value
    sign, digits = "-" * (scaled < 0), f"{abs(scaled):{',' if ',' in whole else ''}.{n_decimals}f}"
    zeros = "0" * max(0, n_digits - len(digits.partition(".")[0]))
    return f"{before}{sign}{zeros}{digits}{percent or ''}{after}".strip()


def _literal(part: re.Match[str]) -> str:
    """What is shown of a quoted or escaped text, a currency, a colour or a gap in a number format."""
    quoted, escaped, currency = part.groups()
    return quoted or escaped or currency or ""


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
