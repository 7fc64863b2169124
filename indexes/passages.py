"""Document → passages that fit the encoder: pure."""

from __future__ import annotations

import bisect
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indexes.formats import CODE_SUFFIXES, kind_of, suffix_of
from indexes.headings import MARKDOWN_KINDS, Heading, find_headings
from indexes.types import Document, Passage, Tokenizer
from indexes.windows import CODE_BREAKS, TEXT_BREAKS, Break, cut_windows, fits

_TABLE = re.compile(r"^(\|[^\n]*\|)[ \t]*\n\|(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*(?:\n\|[^\n]*)*", re.MULTILINE)
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
    """The passages of `document` in order; each knows its heading path, its page and its characters.

    A passage that begins within a table carries the names of its columns along, as it does its headings.
    """
    breaks = CODE_BREAKS if suffix_of(document.source) in CODE_SUFFIXES else TEXT_BREAKS
    passages: list[Passage] = []
    for section in _sections(document):
        for title, start, end in _cut_section(document, section, tokenizer, settings, breaks):
            passages.append(_passage(document, title, start, end, ordinal=len(passages)))
    return passages


def _cut_section(
    document: Document, section: _Section, tokenizer: Tokenizer, settings: PassageSettings, breaks: Sequence[Break]
) -> Iterator[tuple[str, int, int]]:
    """(title, start, end) of each passage of a section."""
    most = min(_MAX_TITLE_TOKENS, settings.max_tokens // 4)
    title = _shorten(section.title, tokenizer, most)
    room = settings.max_tokens - _SPECIAL_TOKENS - len(tokenizer.spans(title))
    text = document.text[section.start : section.end]
    tables = _tables(document, text, tokenizer, most)
    if tables and not fits(text, tokenizer, room):
        room -= max(len(tokenizer.spans(f" › {columns}")) for _, _, columns in tables)
    for start, end in cut_windows(text, tokenizer, room, settings.overlap_tokens, breaks):
        columns = next((columns for a, b, columns in tables if a < start < b), "")
        yield " › ".join(filter(None, (title, columns))), section.start + start, section.start + end


def _tables(document: Document, text: str, tokenizer: Tokenizer, most: int) -> list[tuple[int, int, str]]:
    """(start, end, names of the columns) of each table in Markdown."""
    if kind_of(document.source) not in MARKDOWN_KINDS:
        return []
    return [(*found.span(), _shorten(_columns(found[1]), tokenizer, most)) for found in _TABLE.finditer(text)]


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
    """The document cut at its headings, each section titled by its heading path.

    A heading with nothing under it is a section of its own, titled by those above it, so that its words are not lost.
    """
    headings = find_headings(document.text, kind_of(document.source))
    if not headings or headings[0].start > 0:
        yield _Section(title=document.title, start=0, end=headings[0].start if headings else len(document.text))
    path: list[Heading] = []
    for number, heading in enumerate(headings, start=1):
        following = headings[number] if number < len(headings) else None
        path = [above for above in path if above.level < heading.level]
        end = following.start if following else len(document.text)
        if document.text[heading.end : end].strip():
            yield _Section(title=_joined([*path, heading]), start=heading.end, end=end)
        elif following is None or following.level <= heading.level:
            yield _Section(title=_joined(path) or document.title, start=heading.start, end=heading.end)
        path.append(heading)


def _joined(path: list[Heading]) -> str:
    return " › ".join(heading.title for heading in path)


def _columns(row: str) -> str:
    return ", ".join(cell.strip() for cell in row.strip("|").split("|") if cell.strip())


def _shorten(title: str, tokenizer: Tokenizer, max_tokens: int) -> str:
    spans = tokenizer.spans(title)
    return title if len(spans) <= max_tokens else title[: spans[max_tokens - 1][1]]
