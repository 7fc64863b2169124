"""Pictures as lists of marks → SVG for the page, PNG for a report: pure, and without a plotting library."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from app.jobs.runs import Bar, Curve, Point
from indexes.evaluation import Comparison

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


# Okabe and Ito's colours, which people who see colours differently can tell apart; none is lost on white or on dark.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c6bb1", "#7f7f7f")
_WIDTH = 640.0
_LEFT, _RIGHT, _TOP = 46.0, 12.0, 34.0
_ROW = 20.0
_CHARACTERS = 46


def colour_of(place: int) -> str:
    """The colour of the retriever at `place`."""
    return COLOURS[place % len(COLOURS)]


def curves(metric: str, cutoffs: Sequence[int], means: Mapping[str, Mapping[str, float]], title: str) -> Drawing:
    """`metric`@k of each retriever over k, the places of `cutoffs` evenly spaced."""
    height, bottom = 250.0, 250.0 + _TOP
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(cutoffs) - 1)
    values = [means[name][f"{metric}@{k}"] for name in means for k in cutoffs]
    low = int(min(values, default=0.0) * 10) / 10

    def y(value: float) -> float:
        return bottom - (value - low) / max(1.0 - low, 0.1) * (height - 10)

    marks: list[Mark] = [Text(x=0, y=16, text=title, is_bold=True)]
    for tenth in range(round(low * 10), 11, 2 if low < 0.5 else 1):
        marks += _rule(y(tenth / 10), f"{tenth / 10:.1f}")
    for i, k in enumerate(cutoffs):
        marks.append(Text(x=_LEFT + i * step, y=bottom + 18, text=f"{k}", anchor="middle"))
    for place, (name, metrics) in enumerate(means.items()):
        points = tuple((_LEFT + i * step, y(metrics[f"{metric}@{k}"])) for i, k in enumerate(cutoffs))
        marks.append(Line(points=points, colour=colour_of(place)))
        marks += [
            Dot(x=px, y=py, radius=3.5, colour=colour_of(place), hint=f"{name}: {metrics[f'{metric}@{k}']:.3f} at {k}")
            for (px, py), k in zip(points, cutoffs, strict=True)
        ]
    marks += _legend(list(means), bottom + 34)
    words = "; ".join(f"{name} {metrics[f'{metric}@{cutoffs[-1]}']:.3f}" for name, metrics in means.items())
    return Drawing(
        width=_WIDTH,
        height=bottom + 40 + _ROW * len(means),
        label=f"{title}. At {cutoffs[-1]}: {words}",
        marks=tuple(marks),
    )


def bars(metrics: Sequence[str], means: Mapping[str, Mapping[str, float]], title: str) -> Drawing:
    """A group of bars for each of `metrics`, a bar for each retriever."""
    bottom = 200.0 + _TOP
    group = (_WIDTH - _LEFT - _RIGHT) / len(metrics)
    width = min(40.0, (group - 16) / max(1, len(means)))
    marks: list[Mark] = [Text(x=0, y=16, text=title, is_bold=True)]
    for tenth in range(0, 11, 2):
        marks += _rule(bottom - tenth * 19, f"{tenth / 10:.1f}")
    for g, metric in enumerate(metrics):
        start = _LEFT + g * group + (group - width * len(means)) / 2
        marks.append(Text(x=_LEFT + (g + 0.5) * group, y=bottom + 18, text=metric, anchor="middle"))
        for place, (name, values) in enumerate(means.items()):
            tall = values[metric] * 190
            marks.append(
                Box(
                    x=start + place * width + 1,
                    y=bottom - tall,
                    width=width - 2,
                    height=tall,
                    colour=colour_of(place),
                    hint=f"{name}: {metric} {values[metric]:.3f}",
                )
            )
    return Drawing(width=_WIDTH, height=bottom + 30, label=f"{title}, in the colours of the legend", marks=tuple(marks))


def intervals(comparisons: Mapping[str, Comparison], title: str) -> Drawing:
    """The difference of each retriever to the baseline, with its 95 % interval, around a line at zero."""
    reach = max([0.01, *(abs(edge) for c in comparisons.values() for edge in (c.low, c.high))]) * 1.08
    centre, half = _WIDTH * 0.68, _WIDTH * 0.30
    height = _TOP + _ROW * 1.4 * len(comparisons)

    def x(value: float) -> float:
        return centre + value / reach * half

    marks: list[Mark] = [
        Text(x=0, y=16, text=title, is_bold=True),
        Line(points=((centre, _TOP - 6), (centre, height)), colour=INK, width=1),
    ]
    for place, (name, c) in enumerate(comparisons.items(), start=1):
        y = _TOP + (place - 0.5) * _ROW * 1.4
        hint = f"{name}: {c.difference:+.3f} ({c.low:+.3f} to {c.high:+.3f})"
        marks += [
            Text(x=0, y=y + 4, text=_shorten(name)),
            Line(points=((x(c.low), y), (x(c.high), y)), colour=colour_of(place), width=3),
            Dot(x=x(c.difference), y=y, radius=5, colour=colour_of(place), hint=hint),
        ]
    for value in (-reach / 1.08, 0.0, reach / 1.08):
        marks.append(Text(x=x(value), y=height + 16, text=f"{value:+.3f}" if value else "0", anchor="middle"))
    words = "; ".join(f"{name} {c.difference:+.3f}" for name, c in comparisons.items())
    return Drawing(width=_WIDTH, height=height + 26, label=f"{title}: {words}", marks=tuple(marks))


def _rule(y: float, text: str) -> list[Mark]:
    line = Line(points=((_LEFT, y), (_WIDTH - _RIGHT, y)), colour=FAINT, width=1)
    return [line, Text(x=_LEFT - 8, y=y + 4, text=text, anchor="end")]


def _legend(names: Sequence[str], top: float) -> list[Mark]:
    marks: list[Mark] = []
    for place, name in enumerate(names):
        y = top + _ROW * (place + 0.5)
        marks.append(Dot(x=_LEFT + 5, y=y, radius=5, colour=colour_of(place)))
        marks.append(Text(x=_LEFT + 18, y=y + 4, text=name))
    return marks


def _shorten(name: str) -> str:
    return name if len(name) <= _CHARACTERS else f"{name[: _CHARACTERS - 1]}…"


_CURVE_WIDTH, _CURVE_HEIGHT = 480, 170
_CURVE_LEFT, _CURVE_RIGHT, _CURVE_TOP, _CURVE_BOTTOM = 44, 10, 8, 22


def curves_html(curves: Sequence[Curve]) -> str:
    """A plot for each training that has logged something; the words beside it say the same."""
    return "".join(_curve_html(curve) for curve in curves)


def _curve_html(curve: Curve) -> str:
    said = _first_to_last(curve.trained)
    last = int(curve.trained[-1][0])
    caption = f"{curve.title}, step {last:,} of {max(curve.steps, last):,}"
    return (
        f'<figure class="curve"><figcaption>{escape(caption)}</figcaption>'
        f"{_curve_svg(curve, f'{caption}: {said}')}"
        f'<ul class="legend"><li class="training">training <b>{said}</b></li></ul>'
        "</figure>"
    )


def _first_to_last(points: Sequence[Point]) -> str:
    first, last = points[0][1], points[-1][1]
    return f"{first:.3f}" if len(points) == 1 else f"{first:.3f} → {last:.3f}"


def _curve_svg(curve: Curve, label: str) -> str:
    values = [value for _, value in curve.trained]
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high = low - room, high + room
    end = max([curve.steps, 1, *(step for step, _ in curve.trained)])

    def place(point: Point) -> tuple[float, float]:
        x = _CURVE_LEFT + point[0] / end * (_CURVE_WIDTH - _CURVE_LEFT - _CURVE_RIGHT)
        return x, _CURVE_TOP + (high - point[1]) / (high - low) * (_CURVE_HEIGHT - _CURVE_TOP - _CURVE_BOTTOM)

    ticks = "".join(_tick(value, place((0, value))[1]) for value in _ticks(low, high))
    line = _line([place(p) for p in curve.trained])
    bottom = _CURVE_HEIGHT - 6
    return (
        f'<svg viewBox="0 0 {_CURVE_WIDTH} {_CURVE_HEIGHT}" role="img" aria-label="{escape(label)}">{ticks}'
        f'<text x="{_CURVE_LEFT}" y="{bottom}">0</text>'
        f'<text x="{_CURVE_WIDTH - _CURVE_RIGHT}" y="{bottom}" text-anchor="end">{end:,.0f} steps</text>{line}</svg>'
    )


def _ticks(low: float, high: float) -> list[float]:
    return [low + (high - low) * share for share in (0.1, 0.5, 0.9)]


def _tick(value: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{_CURVE_LEFT}" x2="{_CURVE_WIDTH - _CURVE_RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_CURVE_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
    )


def _line(places: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dot = f'<circle class="training" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="2.5"/>'
    return f'<polyline class="training" points="{path}"/>{dot if len(places) == 1 else ""}'


def bars_html(bars: Sequence[Bar], n_questions: int) -> str:
    """nDCG@10 of each retriever as a bar in a table, with the 95 % interval of its mean where that is known."""
    if not bars:
        return ""
    top = max(max(bar.value, bar.interval[1] if bar.interval else 0.0) for bar in bars) or 1.0
    rows = "".join(_bar_html(bar, top) for bar in bars)
    has_intervals = any(bar.interval for bar in bars)
    note = (
        "The line on a bar is the 95 % interval of its mean. The difference on the same questions is surer than the "
        "overlap of two lines suggests; the sentence above has its own interval."
    )
    return (
        f'<div class="scroll"><table class="figures bars" aria-label="nDCG@10 by retriever"><thead><tr>'
        f"<th>On {n_questions:,} held-out question{'s' * (n_questions != 1)}</th><th>nDCG@10</th>"
        f'<th class="plot"><span class="unseen">Bar</span></th></tr></thead><tbody>{rows}</tbody></table></div>'
        + (f'<p class="aside">{note}</p>' if has_intervals else "")
    )


def _bar_html(bar: Bar, top: float) -> str:
    whisker, said = "", ""
    if bar.interval:
        low, high = bar.interval
        whisker = f'<s style="left: {100 * low / top:.1f}%; width: {100 * (high - low) / top:.1f}%"></s>'
        said = f' <span class="interval">{low:.3f}–{high:.3f}</span>'
    return (
        f"<tr><td>{escape(bar.label)}</td><td><b>{bar.value:.3f}</b>{said}</td>"
        f'<td class="plot" aria-hidden="true"><div class="track"><i class="{escape(bar.kind)}" '
        f'style="width: {100 * bar.value / top:.1f}%"></i>{whisker}</div></td></tr>'
    )
