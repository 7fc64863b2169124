"""Document → passages that fit the encoder, cut where something ends, each under its heading: pure."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indexes.files import CODE_SUFFIXES, kind_of, suffix_of
from indexes.types import Document, Passage, Tokenizer

_BLOCK = 2**18  # characters whose tokens are held at once: their places take about 150 bytes a character
_AHEAD = 200  # characters behind a window that a pattern may look at
_MAX_TOKEN = 20  # characters; a longer one is an unknown word or a run of signs, of any length
_PIECE = 8  # characters of such a one that count as a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """Where a text may be cut: at the end of `pattern`, once the window is at least this full."""

    pattern: re.Pattern[str]
    fill: float = 0.5
    overlap: bool = True


TEXT_BREAKS = tuple(
    Break(pattern=re.compile(pattern))
    for pattern in (r"\n\s*\n", r"\n", r"[.?!][\"')\]»”]*\s|[。！？]", r"[;:,]\s|[；：，、]", r"\s")
)
CODE_BREAKS = (
    # A blank line and then the margin: the next definition, with its decorators and comments.
    Break(pattern=re.compile(r"\n[ \t]*\n(?=[^\s})\]])"), fill=0.15, overlap=False),
    Break(pattern=re.compile(r"\n(?=[A-Za-z_@])"), overlap=False),
    Break(pattern=re.compile(r"\n[ \t]*\n")),
    Break(pattern=re.compile(r"\n")),
    Break(pattern=re.compile(r"\s")),
)


def cut_windows(
    text: str, tokenizer: Tokenizer, room: int, overlap: int, breaks: Sequence[Break] = TEXT_BREAKS
) -> Iterator[tuple[int, int]]:
    """Character spans of at most `room` tokens without white space around; the next begins up to `overlap` back."""
    overlap = min(overlap, room // 4)
    start = 0
    while start < len(text):
        stop = _block_end(text, start)
        tokens = [(start + a, start + b) for a, b in bounded_spans(tokenizer, text[start:stop])]
        ends = list(_ends(text, stop, tokens, tokenizer, room, overlap, breaks)) or [(start, stop, stop)]
        if stop < len(text) and len(ends) > 1:
            ends.pop()  # the last window goes on into the next block
            stop = ends[-1][2]
        for begin, end, _ in ends:
            if span := _strip(text, begin, end):
                yield span
        start = stop


def fits(text: str, tokenizer: Tokenizer, room: int) -> bool:
    """Whether the text is one window."""
    return len(text) <= _BLOCK and len(bounded_spans(tokenizer, text)) <= room


def bounded_spans(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    """The tokens' places, long ones as several: who counts them bounds the characters too."""
    return [
        piece
        for start, end in tokenizer.spans(text)
        for piece in (
            [(start, end)]
            if end - start <= _MAX_TOKEN
            else [(begin, min(begin + _PIECE, end)) for begin in range(start, end, _PIECE)]
        )
    ]


def _block_end(text: str, start: int) -> int:
    if len(text) - start <= _BLOCK:
        return len(text)
    found = max(text.rfind(space, start + _BLOCK // 2, start + _BLOCK) for space in ("\n", " "))
    return found + 1 if found >= 0 else start + _BLOCK


def _ends(
    text: str,
    stop: int,
    tokens: list[tuple[int, int]],
    tokenizer: Tokenizer,
    room: int,
    overlap: int,
    breaks: Sequence[Break],
) -> Iterator[tuple[int, int, int]]:
    """(start, end, where the next one starts) of each window over `tokens`, the last of which ends at `stop`."""
    first = 0
    while first < len(tokens):
        start = tokens[first][0]
        if first + room >= len(tokens):
            yield start, stop, stop
            return
        end, may_overlap = _cut(text, tokens, first, room, breaks)
        end = _shrink(text, start, end, tokenizer, room)
        after = max(bisect_left(tokens, (end, 0)), first + 1)
        back = max(after - overlap, first + 1)
        begin = _resume(text, tokens[back][0], end, breaks) if may_overlap and overlap else end
        following = bisect_left(tokens, (begin, 0))
        first = after if following <= first else min(following, after)
        yield start, end, tokens[first][0] if first < len(tokens) else end


def _cut(text: str, tokens: list[tuple[int, int]], first: int, room: int, breaks: Sequence[Break]) -> tuple[int, bool]:
    """The best place to end the window that begins with token `first`, and whether the next may overlap it."""
    limit = tokens[first + room][0]
    for each in breaks:
        low = tokens[first + max(1, int(room * each.fill))][0]
        found = [m.end() for m in each.pattern.finditer(text, low, limit + _AHEAD) if m.end() <= limit]
        if found:
            row = text[found[-1] : limit + _AHEAD].partition("\n")[0]
            is_row = row.startswith("|") or " | " in row  # of a table: part of the row before it tells nothing
            return found[-1], each.overlap and not is_row
    return limit, True


def _resume(text: str, low: int, end: int, breaks: Sequence[Break]) -> int:
    """Where the overlap begins: the first paragraph, line, sentence or word in `low` to `end`."""
    for each in breaks:
        found = next((m.end() for m in each.pattern.finditer(text, max(0, low - 1), end) if m.end() >= low), end)
        if found < end:
            return found
    return low


def _shrink(text: str, start: int, end: int, tokenizer: Tokenizer, room: int) -> int:
    """`end`, or less if the piece alone has more tokens than it had in the text: a word was cut through."""
    if end >= len(text) or text[end - 1].isspace() or text[end].isspace():
        return end
    while len(spans := bounded_spans(tokenizer, text[start:end])) > room:
        end = start + max(1, spans[room][0])
    return end


def _strip(text: str, start: int, end: int) -> tuple[int, int] | None:
    piece = text[start:end]
    if not piece.strip():
        return None
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())


MARKDOWN_KINDS = ("md", "html", "docx", "pptx", "xlsx", "epub", "ipynb", "pdf")
_ATX = re.compile(r"^(#{1,6})[ \t]+(\S[^\n]*)$", re.MULTILINE)
# Underlined: one line after a blank one (or at the beginning), and a line of = or - beneath it.
_SETEXT = re.compile(r"(?:\A|(?<=\n\n))[ ]{0,3}(\S[^\n]*)\n(=+|-{2,})[ \t]*(?=\n|\Z)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---\n.*?^(?:---|\.\.\.)$", re.MULTILINE | re.DOTALL)
_RST = re.compile(
    r"^(?:([!-/:-@[-`{-~])\1+\n[ ]*(?P<over>\S[^\n]*)\n\1{2,}|(?P<under>[^\s.][^\n]*)\n([!-/:-@[-`{-~])\4+)[ \t]*$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """Characters `start` to `end` are the heading's lines; level 1 is the highest."""

    level: int
    title: str
    start: int
    end: int


def find_headings(text: str, kind: str) -> list[Heading]:
    """The headings in order; none where the kind of text has no marks for them."""
    if kind == "rst":
        return list(_rst_headings(text))
    if kind not in MARKDOWN_KINDS:
        return []
    found = [_heading(m, len(m[1]), _without_closing(m[2])) for m in _ATX.finditer(text)]
    if kind == "md":
        found += [_heading(m, 1 if m[2][0] == "=" else 2, m[1]) for m in _SETEXT.finditer(text)]
    return _outside(text, sorted(found, key=lambda heading: heading.start))


def _without_closing(title: str) -> str:
    """A heading's text without the hashes that may close it; those of a word ("C#") are its own."""
    title = title.rstrip()
    opened = title.rstrip("#")
    return opened if opened != title and opened[-1:] in ("", " ", "\t") else title


def _heading(match: re.Match[str], level: int, title: str) -> Heading:
    return Heading(level=level, title=title.strip(), start=match.start(), end=match.end())


def _outside(text: str, headings: list[Heading]) -> list[Heading]:
    """The headings that are not in a block of code, where "# comment" is none, nor in the front matter."""
    blocks = [m.span() for pattern in (_FRONT_MATTER, _FENCE) for m in pattern.finditer(text)]
    blocks.sort()
    starts = [start for start, _ in blocks]
    kept = []
    for heading in headings:
        before = bisect_right(starts, heading.start) - 1
        if before < 0 or heading.start >= blocks[before][1]:
            kept.append(heading)
    return kept


def _rst_headings(text: str) -> Iterator[Heading]:
    """Titles with a line under (and over) them at least as long; a style's level is the order it first comes in."""
    levels: dict[tuple[str, bool], int] = {}
    for match in _RST.finditer(text):
        title = (match["over"] or match["under"]).strip()
        line = match[0].rstrip().rpartition("\n")[2]
        if len(line) < len(title) or (not match["over"] and set(title) <= set(line[0])):
            continue
        level = levels.setdefault((line[0], match["over"] is not None), len(levels) + 1)
        yield _heading(match, level, title)


# A line of names, one of dashes, and rows; the bars at both ends are often left out.
_TABLE = re.compile(
    r"^([^\n|]*\|[^\n]*)\n(?=[^\n]*\|)[ \t]*(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*"
    r"(?:\n[^\n|]*\|[^\n]*)*",
    re.MULTILINE,
)
_SPECIAL_TOKENS = 2  # what an encoder adds around a text
_MAX_TITLE_TOKENS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageSettings:
    """How a corpus is cut: at most `max_tokens` a passage (title included), the next one `overlap_tokens` back."""

    max_tokens: int = 256
    overlap_tokens: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """Characters `start` to `end` under a title, from `heading` on where the title is too long to be kept whole."""

    title: str
    heading: int
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
    room = settings.max_tokens - _SPECIAL_TOKENS - len(bounded_spans(tokenizer, title))
    first = section.start if title == section.title else section.heading
    text = document.text[first : section.end]
    tables = _tables(document, text, tokenizer, most)
    if tables and not fits(text, tokenizer, room):
        room -= max(len(bounded_spans(tokenizer, f" › {columns}")) for _, _, columns in tables)
    for start, end in cut_windows(text, tokenizer, room, settings.overlap_tokens, breaks):
        columns = next((columns for a, b, columns in tables if a < start < b), "")
        yield " › ".join(filter(None, (title, columns))), first + start, first + end


def _tables(document: Document, text: str, tokenizer: Tokenizer, most: int) -> list[tuple[int, int, str]]:
    """(start, end, names of the columns) of each table in Markdown."""
    if kind_of(document.source) not in MARKDOWN_KINDS:
        return []
    return [(*found.span(), _shorten(_columns(found[1]), tokenizer, most)) for found in _TABLE.finditer(text)]


def _passage(document: Document, title: str, start: int, end: int, *, ordinal: int) -> Passage:
    text = document.text[start:end]
    identity = "\x1f".join((document.id, str(ordinal), title, text)).encode("utf-8", "surrogatepass")
    return Passage(
        id=hashlib.blake2b(identity, digest_size=12).hexdigest(),
        document_id=document.id,
        source=document.source,
        title=title,
        text=text,
        start=start,
        end=end,
        page=bisect_right(document.page_starts, start) or None,
        kind=document.kind,
        date=document.date,
    )


def _sections(document: Document) -> Iterator[_Section]:
    """The document cut at its headings, each section titled by its heading path.

    A heading with nothing under it is a section of its own, titled by those above it, so that its words are not lost.
    """
    headings = find_headings(document.text, kind_of(document.source))
    if not headings or headings[0].start > 0:
        end = headings[0].start if headings else len(document.text)
        yield _Section(title=document.title, heading=0, start=0, end=end)
    path: list[Heading] = []
    for number, heading in enumerate(headings, start=1):
        following = headings[number] if number < len(headings) else None
        path = [above for above in path if above.level < heading.level]
        end = following.start if following else len(document.text)
        if document.text[heading.end : end].strip():
            yield _Section(title=_joined([*path, heading]), heading=heading.start, start=heading.end, end=end)
        elif following is None or following.level <= heading.level:
            yield _Section(
                title=_joined(path) or document.title, heading=heading.start, start=heading.start, end=heading.end
            )
        path.append(heading)


def _joined(path: list[Heading]) -> str:
    return " › ".join(heading.title for heading in path)


def _columns(row: str) -> str:
    return ", ".join(cell.strip() for cell in row.strip("|").split("|") if cell.strip())


def _shorten(title: str, tokenizer: Tokenizer, max_tokens: int) -> str:
    spans = bounded_spans(tokenizer, title)
    return title if len(spans) <= max_tokens else title[: spans[max_tokens - 1][1]]
