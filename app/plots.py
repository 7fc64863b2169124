"""Pictures as lists of marks → SVG for the page and for a file: pure, and without a plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Literal

from distill.run_folder import Losses
from distill.verdict.report import Metrics
from indexes.evaluation import Comparison
from indexes.retrievers import Retriever

INK, FAINT = "ink", "faint"  # they follow the page's theme; every other colour is '#rrggbb'
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


def to_file(drawings: Sequence[Drawing]) -> str:
    """The drawings one under another as one SVG file, dark on white."""
    width, height = max(each.width for each in drawings), sum(each.height for each in drawings)
    parts, top = [], 0.0
    for each in drawings:
        parts.append(f'<g transform="translate(0 {top:g})">{"".join(_svg(mark) for mark in each.marks)}</g>')
        top += each.height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" font-family="sans-serif" '
        f'font-size="{_FONT_PX}" color="#1f2937"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )


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


_TITLES = {"ranker": "Ranker: loss", "retriever": "Retriever: divergence from its targets"}


def curves_html(curves: Mapping[str, Losses | None]) -> str:
    """A plot for each training that has logged something, by what it trains; the words beside it say the same."""
    return "".join(_curve_html(_TITLES[model], curve) for model, curve in curves.items() if curve)


def _curve_html(title: str, curve: Losses) -> str:
    values = [value for _, value in curve.points]
    said = " → ".join(f"{value:.3f}" for value in (values[0], *values[1:][-1:]))
    last = int(curve.points[-1][0])
    caption = f"{title}, step {last:,} of {max(curve.steps, last):,}"
    return (
        f'<figure class="curve"><figcaption>{escape(caption)}</figcaption>{to_svg(_loss(curve, f"{caption}: {said}"))}'
        f'<ul class="legend"><li class="training">training <b>{said}</b></li></ul></figure>'
    )


def _loss(curve: Losses, label: str) -> Drawing:
    values, steps = [value for _, value in curve.points], [step for step, _ in curve.points]
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high, end, bottom = low - room, high + room, max(curve.steps, 1, *steps), 180.0

    def place(step: float, value: float) -> tuple[float, float]:
        x = _LEFT + step / end * (_WIDTH - _LEFT - _RIGHT)
        return x, 8 + (high - value) / (high - low) * (bottom - 8)

    heights = [low + (high - low) * share for share in (0.1, 0.5, 0.9)]
    marks = [mark for value in heights for mark in _rule(place(0, value)[1], f"{value:.3g}")]
    marks.append(Line(points=tuple(place(*point) for point in curve.points), colour=colour_of(0)))
    if len(values) == 1:
        marks.append(Dot(x=place(*curve.points[0])[0], y=place(*curve.points[0])[1], radius=3, colour=colour_of(0)))
    marks.append(Text(x=_LEFT, y=bottom + 18, text="0"))
    marks.append(Text(x=_WIDTH - _RIGHT, y=bottom + 18, text=f"{end:,.0f} steps", anchor="end"))
    return Drawing(width=_WIDTH, height=bottom + 24, label=label, marks=tuple(marks))


_METRIC = "ndcg@10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a retriever reached on questions that were held out; `interval` is None in runs that kept none."""

    label: str
    value: float
    interval: tuple[float, float] | None
    kind: str


def bars_of(metrics: Metrics) -> list[Bar]:
    """nDCG@10 of every retriever that the run judged, in the run's order."""
    base, name = metrics.settings.base, metrics.settings.name
    known = {"lexical": (Retriever(kind="lexical").name, "other")}
    for encoder, alias, kind in (
        (base, "Baseline", "baseline"),
        (name, "Taught", "taught"),
        (f"weighted({base})", "Baseline, rare words count more", "other"),
        (f"{name}-free", "Taught for free", "other"),
    ):
        dense = Retriever(encoder=encoder, alias=alias)
        fused = replace(dense, kind="fused")
        reranked = replace(fused, is_reranked=True)
        known |= {each.key: (each.name, kind) for each in (dense, fused, reranked)}
    bars = []
    for retriever, values in metrics.retrievers.items():
        if _METRIC in values:
            label, kind = known.get(retriever, (f"{retriever}, promoted before", "other"))
            interval = metrics.intervals.get(retriever)
            bars.append(Bar(label=label, value=values[_METRIC], interval=interval, kind=kind))
    return bars


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
