"""A text → spans that fit an encoder, cut where something ends: pure.

Cut on the tokens' own places, in one pass. A splitter that returns strings has to be asked where each of them stood,
which cannot be told in a text that repeats itself; and measuring every sentence alone takes three times as long.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indexes.types import Tokenizer

_BLOCK = 2**18  # characters whose tokens are held at once: their places take about 150 bytes a character
_AHEAD = 200  # characters behind a window that a pattern may look at


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
        tokens = [(start + a, start + b) for a, b in tokenizer.spans(text[start:stop])]
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
    return len(text) <= _BLOCK and len(tokenizer.spans(text)) <= room


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
            is_row = text.startswith("|", found[-1])  # of a table: part of the row before it tells nothing
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
    while len(spans := tokenizer.spans(text[start:end])) > room:
        end = start + max(1, spans[room][0])
    return end


def _strip(text: str, start: int, end: int) -> tuple[int, int] | None:
    piece = text[start:end]
    if not piece.strip():
        return None
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())
