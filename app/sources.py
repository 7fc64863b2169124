"""A passage where it stands in its file → safe HTML: PDF pages as pictures, Markdown rendered, text by its lines."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.rendering import aside_html, notice_html, source_line
from indexes.corpus import Corpus
from indexes.errors import UnreadableFileError
from indexes.files import kind_of
from indexes.readers.process import ReaderProcess, read_documents
from indexes.splitting import MARKDOWN_KINDS
from indexes.types import Passage

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_LIMIT_S = 30.0  # of reading a file or drawing a page: somebody waits for it
_AROUND, _MOST_AROUND = 3_000, 20_000  # characters on either side; more only to a blank line


def source_html(corpus: Corpus, document_id: str, passage_id: str) -> str:
    """The passage of a document where it stands in the kept file, or in what was read of it, which is then said."""
    document = corpus.document(document_id)
    one = next((each for each in document if each.id == passage_id), None)
    if one is None:
        return notice_html("This passage is not in the corpus any more. Ask again.", "error")
    shown, remark = "", ""
    if document_id.partition("@")[0] == one.source:  # else a record, or one of several mails: shown as it was read
        try:
            shown = _opened(corpus.original_of(one.source), one)
        except (UnreadableFileError, OSError) as error:
            why = str(error) if isinstance(error, UnreadableFileError) else "The kept file is gone."
            remark = notice_html(f"{why} This is what was read of it.", "error")
    return (
        f'<section class="place" aria-label="The passage in its place"><h3 dir="auto">{escape(source_line(one))}</h3>'
        f"{remark}{shown or _text_html(*_joined(document, one), one)}</section>"
    )


@lru_cache(maxsize=8)
def _opened(original: Path | None, passage: Passage) -> str:
    """The place of `passage` in its file, which is read by a process of its own that may hang or crash on it."""
    if original is None or not original.is_file():
        raise FileNotFoundError
    if passage.page and kind_of(passage.source) == "pdf":
        return _pages_html(original, passage, passage.page)
    n_lines = 0
    for document in read_documents(original, passage.source, _reader().read):
        if document.id == passage.document_id:
            if document.text[passage.start : passage.end] != passage.text:
                break
            return _text_html(document.text, passage.start, passage, n_lines + 1)
        n_lines += document.text.count("\n")
    raise UnreadableFileError("The file reads otherwise now than when it was added.")


@cache
def _reader() -> ReaderProcess:
    return ReaderProcess(_LIMIT_S)


def _pages_html(original: Path, passage: Passage, first: int) -> str:
    pages = _reader().draw(original, first, passage.text)
    sheets = "".join(
        f'<div class="sheet"><img alt="Page {number} of {escape(passage.source)}" width="{page.width}" '
        f'height="{page.height}" src="data:image/webp;base64,{b64encode(page.webp).decode("ascii")}">'
        f"{''.join(map(_mark_html, page.marks))}</div>"
        for number, page in enumerate(pages, start=first)
    )
    is_found = any(page.marks for page in pages)
    note = "" if is_found else aside_html("Where the words stand on the page could not be found out.")
    return f'{note}<div class="text pages" tabindex="0">{sheets}</div>'


def _mark_html(mark: tuple[float, float, float, float]) -> str:
    left, top, width, height = mark
    return f'<mark style="left: {left:.2%}; top: {top:.2%}; width: {width:.2%}; height: {height:.2%}"></mark>'


def _joined(document: Sequence[Passage], one: Passage) -> tuple[str, int]:
    """What the passages of a document have of its text, and where `one` begins in it."""
    text, cursor, start = "", 0, 0
    for each in sorted(document, key=lambda each: each.start):
        text += ("\n\n" if each.start > cursor and text else "") + each.text[max(0, cursor - each.start) :]
        cursor = max(cursor, each.end)
        start = len(text) - len(one.text) if each == one else start
    return text, max(0, start)


def _text_html(text: str, start: int, passage: Passage, line: int | None = None) -> str:
    """What stands around a passage in `text`, from `start` on; `line` is the number of the first line, if known."""
    end = start + len(passage.text)
    if kind_of(passage.source) in MARKDOWN_KINDS:
        return f'<div class="text rendered" dir="auto" tabindex="0">{_markdown_html(text, start, end)}</div>'
    first = max(text.rfind("\n", 0, max(0, start - _AROUND)) + 1, start - _MOST_AROUND)
    number = None if line is None else line + text.count("\n", 0, first)
    lines: list[str] = []
    cursor = first
    for shown in text[first : end + _AROUND].split("\n"):
        a, b = (min(max(place - cursor, 0), len(shown)) for place in (start, end))
        marked = f"{escape(shown[:a])}<mark>{escape(shown[a:b])}</mark>{escape(shown[b:])}" if a < b else escape(shown)
        lines.append(marked if number is None else f'<span data-line="{number + len(lines)}">{marked}</span>')
        cursor += len(shown) + 1
    return f'<div class="text" dir="auto" tabindex="0">{chr(10).join(lines)}</div>'


_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_BLOCKS = ("paragraph_open", "heading_open", "tr_open", "fence", "code_block")


def _markdown_html(text: str, start: int, end: int) -> str:
    """The Markdown around characters `start` to `end`, the blocks that they touch marked."""
    first = max(text.rfind("\n\n", 0, max(0, start - _AROUND)) + 1, start - _MOST_AROUND, 0)
    fences = [found.start() for found in _FENCE.finditer(text, 0, first)]
    if len(fences) % 2 and fences[-1] > start - _MOST_AROUND:
        first = fences[-1]  # the window would begin within a block of code
    last = text.find("\n\n", end + _AROUND)
    window = text[first : min(last if last >= 0 else len(text), end + _MOST_AROUND)]
    from_line, to_line = (window.count("\n", 0, place - first) for place in (start, end))
    tokens = _markdown().parse(window)
    for place, token in enumerate(tokens):
        if token.type in _BLOCKS and token.map and token.map[0] <= to_line and token.map[1] > from_line:
            tokens[place - token.hidden].attrJoin("class", "here")  # a paragraph without space around is its item
    return str(_markdown().renderer.render(tokens, _markdown().options, {}))


@cache
def _markdown() -> MarkdownIt:
    """Markdown whose HTML is text, whose links lead nowhere and say where they would, and whose images are words."""
    from markdown_it import MarkdownIt

    def link_open(renderer: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
        return f'<span class="leads" title="{escape(str(tokens[place].attrs["href"]))}">'

    def link_close(renderer: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
        return "</span>"

    def image(renderer: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
        return f"<i>[Picture: {escape(tokens[place].content)}]</i>"

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    for name, rule in (("link_open", link_open), ("link_close", link_close), ("image", image)):
        parser.add_render_rule(name, rule)
    return parser
