"""Where the headings of a text stand: Markdown's and reStructuredText's. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

MARKDOWN_KINDS = ("md", "html", "docx", "pptx", "xlsx", "epub")
_ATX = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*[ \t]*$", re.MULTILINE)
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
    found = [_heading(m, len(m[1]), m[2]) for m in _ATX.finditer(text)]
    if kind == "md":
        found += [_heading(m, 1 if m[2][0] == "=" else 2, m[1]) for m in _SETEXT.finditer(text)]
    return _outside(text, sorted(found, key=lambda heading: heading.start))


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
