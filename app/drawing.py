"""A picture as a list of marks → SVG for the page, PNG for a report: pure, and without a plotting library."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

INK, FAINT = "ink", "faint"  # they follow the page's theme; every other colour is '#rrggbb'
_ON_WHITE = {INK: "#1f2937", FAINT: "#cbd5e1"}
_PNG_SCALE = 2
_FONT_PX = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through `points`."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A disc, or a ring where it is not filled; `hint` is shown when one points at it."""

    x: float
    y: float
    radius: float
    colour: str
    is_filled: bool = True
    opacity: float = 1.0
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A filled rectangle with a hint."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One line of text on the base line `y`."""

    x: float
    y: float
    text: str
    anchor: Literal["start", "middle", "end"] = "start"
    colour: str = INK
    is_bold: bool = False


Mark = Line | Dot | Box | Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Marks in the order in which they are drawn, and what they show in words."""

    width: float
    height: float
    label: str
    marks: tuple[Mark, ...]


def to_svg(drawing: Drawing) -> str:
    """The drawing as SVG that follows the text colour of the page around it."""
    body = "".join(_svg(mark) for mark in drawing.marks)
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(drawing.label)}" '
        f'viewBox="0 0 {drawing.width:g} {drawing.height:g}" width="{drawing.width:g}" font-size="{_FONT_PX}" '
        f'fill="currentColor"><title>{escape(drawing.label)}</title>{body}</svg>'
    )


def _svg(mark: Mark) -> str:
    match mark:
        case Line():
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
            stroke = f'{_paint("stroke", mark.colour)} stroke-width="{mark.width:g}"'
            return f'<polyline points="{points}" fill="none" {stroke}/>'
        case Dot():
            paint = _paint("fill", mark.colour) if mark.is_filled else f'fill="none" {_paint("stroke", mark.colour)}'
            opacity = f' opacity="{mark.opacity:g}"' if mark.opacity < 1 else ""
            stroke = "" if mark.is_filled else ' stroke-width="2"'
            place = f'cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="{mark.radius:g}"'
            return f"<circle {place} {paint}{stroke}{opacity}>{_hint(mark.hint)}</circle>"
        case Box():
            place = f'x="{mark.x:.1f}" y="{mark.y:.1f}" width="{mark.width:.1f}" height="{mark.height:.1f}"'
            return f"<rect {place} {_paint('fill', mark.colour)}>{_hint(mark.hint)}</rect>"
        case Text():
            weight = ' font-weight="600"' if mark.is_bold else ""
            place = f'x="{mark.x:.1f}" y="{mark.y:.1f}" text-anchor="{mark.anchor}"'
            return f"<text {place} {_paint('fill', mark.colour)}{weight}>{escape(mark.text)}</text>"


def _paint(attribute: str, colour: str) -> str:
    if colour == INK:
        return f'{attribute}="currentColor"'
    return f'{attribute}="currentColor" {attribute}-opacity="0.22"' if colour == FAINT else f'{attribute}="{colour}"'


def _hint(hint: str) -> str:
    return f"<title>{escape(hint)}</title>" if hint else ""


def to_png(drawings: Sequence[Drawing]) -> bytes:
    """The drawings one under another, dark on white, at twice their size."""
    from PIL import Image, ImageDraw

    width = int(max(drawing.width for drawing in drawings) * _PNG_SCALE)
    height = int(sum(drawing.height for drawing in drawings) * _PNG_SCALE)
    image = Image.new("RGB", (width, height), "white")
    brush = ImageDraw.Draw(image, "RGBA")
    top = 0.0
    for drawing in drawings:
        for mark in drawing.marks:
            _draw(brush, mark, top)
        top += drawing.height
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _draw(brush: ImageDraw.ImageDraw, mark: Mark, top: float) -> None:
    def place(x: float, y: float) -> tuple[float, float]:
        return x * _PNG_SCALE, (y + top) * _PNG_SCALE

    colour = _ON_WHITE.get(mark.colour, mark.colour)
    match mark:
        case Line():
            points = [place(x, y) for x, y in mark.points]
            brush.line(points, fill=colour, width=max(1, round(mark.width * _PNG_SCALE)), joint="curve")
        case Dot():
            (x, y), r = place(mark.x, mark.y), mark.radius * _PNG_SCALE
            shade = f"{colour}{round(255 * mark.opacity):02x}"
            ends = (x - r, y - r, x + r, y + r)
            if mark.is_filled:
                brush.ellipse(ends, fill=shade)
            else:
                brush.ellipse(ends, outline=shade, width=2 * _PNG_SCALE)
        case Box():
            brush.rectangle((*place(mark.x, mark.y), *place(mark.x + mark.width, mark.y + mark.height)), fill=colour)
        case Text():
            anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
            brush.text(place(mark.x, mark.y), mark.text, fill=colour, anchor=anchor, font=_font())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(_FONT_PX * _PNG_SCALE)
