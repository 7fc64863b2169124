"""Pages of a PDF → pictures, on which the words of a passage are marked."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import SequenceMatcher
from io import BytesIO
from pathlib import Path
from typing import Any

from indexes.readers.pdf import Ruler

_WIDEST, _HIGHEST = 1100, 1600  # pixels
_MOST_PAGES = 3
_MOST_SEARCHED = 50_000  # characters of a page
_FEWEST = 3  # words in a row that are no chance
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePicture:
    """A page as WebP, `width` x `height` pixels; `marks` are (left, top, width, height) of words, in shares of it."""

    webp: bytes
    width: int
    height: int
    marks: tuple[Box, ...]


def draw_pages(file: Path, number: int, text: str) -> Iterator[PagePicture]:
    """The page with this number (from 1) and those after it that `text`, which was read from there, goes on on."""
    import pypdfium2

    with closing(pypdfium2.PdfDocument(file)) as pdf:
        words = re.findall(r"\w+", text[:_MOST_SEARCHED].casefold())
        for place in range(number - 1, min(number - 1 + _MOST_PAGES, max(number, len(pdf)))):
            with closing(pdf[place]) as page, closing(page.get_textpage()) as opened:
                boxes, n_found = _find_words(opened, words)
                if boxes or place == number - 1:
                    yield _picture(page, boxes)
                words = words[n_found:]
                if len(words) < _FEWEST:
                    return


def _find_words(page: Any, wanted: Sequence[str]) -> tuple[list[Box], int]:
    """Where these words stand, line by line, as the file counts (left, bottom, right, top); up to which they do."""
    shown = _ASTRAL.sub("\ufffd\ufffd", page.get_text_range()[:_MOST_SEARCHED])  # places count as UTF-16 does
    words = list(re.finditer(r"\w+", shown))
    matcher = SequenceMatcher(None, [word[0].casefold() for word in words], wanted, autojunk=False)
    ruler, boxes, end = Ruler(page), list[Box](), 0
    for found in matcher.get_matching_blocks():
        if found.size >= min(_FEWEST, max(1, len(wanted))):
            start = ruler.letter(words[found.a].start())
            last = ruler.letter(words[found.a + found.size - 1].end() - 1)
            boxes += [page.get_rect(box) for box in range(page.count_rects(start, last - start + 1))]
            end = found.b + found.size
    return boxes, end


def _picture(page: Any, boxes: Sequence[Box]) -> PagePicture:
    """The page with these boxes of it marked; it may be cropped and turned."""
    width, height = page.get_size()
    drawn = page.render(scale=min(_WIDEST / width, _HIGHEST / height)).to_pil().convert("RGB")
    written = BytesIO()
    drawn.save(written, "WEBP", quality=80)
    marks = tuple(_on_picture(page, drawn.size, box) for box in boxes)
    return PagePicture(webp=written.getvalue(), width=drawn.width, height=drawn.height, marks=marks)


def _on_picture(page: Any, size: tuple[int, int], box: Box) -> Box:
    from pypdfium2 import raw

    x, y = ctypes.c_int(), ctypes.c_int()
    corners = []
    for place in (box[:2], box[2:]):
        raw.FPDF_PageToDevice(page, 0, 0, *size, 0, *place, x, y)
        corners.append((x.value / size[0], y.value / size[1]))
    (left, right), (top, bottom) = (sorted(ends) for ends in zip(*corners, strict=True))
    return left, top, right - left, bottom - top
