"""Document → passages that fit the encoder: pure."""

from __future__ import annotations

import bisect
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from indexes.formats import kind_of
from indexes.types import Document, Passage, Tokenizer

_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_MARKDOWN_KINDS = ("md", "html", "docx", "pptx", "xlsx", "epub")
_SPECIAL_TOKENS = 2  # what an encoder adds around a text
_MAX_TITLE_TOKENS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageSettings:
    """How a corpus is cut: at most `max_tokens` a passage (title included), the next one `overlap_tokens` back."""

    max_tokens: int = 256
    overlap_tokens: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    title: str
    start: int
    end: int


def split_document(document: Document, tokenizer: Tokenizer, settings: PassageSettings) -> list[Passage]:
    """The passages of `document` in order; each knows its heading path, its page and its characters."""
    passages: list[Passage] = []
    for section in _sections(document):
        title = _shorten(section.title, tokenizer, min(_MAX_TITLE_TOKENS, settings.max_tokens // 4))
        room = settings.max_tokens - _SPECIAL_TOKENS - len(tokenizer.spans(title))
        text = document.text[section.start : section.end]
        for start, end in _windows(text, tokenizer, room, settings.overlap_tokens):
            passages.append(
                _passage(document, title, section.start + start, section.start + end, ordinal=len(passages))
            )
    return passages


def _passage(document: Document, title: str, start: int, end: int, *, ordinal: int) -> Passage:
    text = document.text[start:end]
    page = bisect.bisect_right(document.page_starts, start) or None
    return Passage(
        id=_passage_id(document.id, ordinal, title, text),
        document_id=document.id,
        source=document.source,
        title=title,
        text=text,
        start=start,
        end=end,
        page=page,
        kind=document.kind,
        date=document.date,
    )


def _passage_id(document_id: str, ordinal: int, title: str, text: str) -> str:
    parts = "\x1f".join((document_id, str(ordinal), title, text))
    return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _sections(document: Document) -> Iterator[_Section]:
    """The document cut at Markdown headings, each section titled by its heading path."""
    headings = list(_headings(document)) if kind_of(document.source) in _MARKDOWN_KINDS else []
    if not headings or headings[0].start() > 0:
        yield _Section(title=document.title, start=0, end=headings[0].start() if headings else len(document.text))
    path: list[tuple[int, str]] = []
    ends = [*(heading.start() for heading in headings[1:]), len(document.text)]
    for heading, end in zip(headings, ends, strict=False):
        level = len(heading[1])
        path = [(above, name) for above, name in path if above < level]
        path.append((level, heading[2].strip()))
        yield _Section(title=" › ".join(name for _, name in path), start=heading.end(), end=end)


def _headings(document: Document) -> Iterator[re.Match[str]]:
    fences = [fence.span() for fence in _FENCE.finditer(document.text)]  # a "# comment" in code is no heading
    for heading in _HEADING.finditer(document.text):
        if not any(start <= heading.start() < end for start, end in fences):
            yield heading


def _shorten(title: str, tokenizer: Tokenizer, max_tokens: int) -> str:
    spans = tokenizer.spans(title)
    return title if len(spans) <= max_tokens else title[: spans[max_tokens - 1][1]]


def _windows(text: str, tokenizer: Tokenizer, room: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Character spans of at most `room` tokens, cut where paragraphs, lines, sentences or words end."""
    spans = tokenizer.spans(text)
    if len(spans) <= room:
        if start_end := _strip(text, 0, len(text)):
            yield start_end
        return
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    splitter = RecursiveCharacterTextSplitter(
        chunk_size=room,
        chunk_overlap=min(overlap, room // 4),
        length_function=lambda piece: len(tokenizer.spans(piece)),
        separators=["\n\n", "\n", ". ", "? ", "! ", "; ", ", ", " ", ""],
        keep_separator="end",
        strip_whitespace=True,
        add_start_index=False,
    )
    cursor = 0
    for piece in splitter.split_text(text):
        start = text.index(piece, cursor)  # pieces are substrings in order, each begins after the one before began
        yield start, start + len(piece)
        cursor = start + 1


def _strip(text: str, start: int, end: int) -> tuple[int, int] | None:
    piece = text[start:end]
    if not piece.strip():
        return None
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())
