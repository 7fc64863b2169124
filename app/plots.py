"""Figures → SVG for the page and for a file, and bars in tables: pure, and without a plotting library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import accumulate
from typing import Literal

from distill.run_folder import Losses
from distill.verdict.report import Metrics
from indexes.errors import counted
from indexes.evaluation import Comparison
from indexes.retrievers import Retriever

INK, FAINT = "currentColor", "faint"  # they follow the page's theme; every other colour is '#rrggbb'
_FONT_PX = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Marks (safe SVG) in the order in which they are drawn, and what they show in words."""

    width: float
    height: float
    label: str
    marks: Sequence[str]


def line(points: Iterable[tuple[float, float]], colour: str, width: float = 2.0) -> str:
    """A line through `points`."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" {_paint("stroke", colour)} stroke-width="{width:g}"/>'


def dot(x: float, y: float, radius: float, colour: str, hint: str = "", *, is_filled: bool = True) -> str:
    """A disc, or a ring where it is not filled; `hint` is shown when one points at it."""
    paint = _paint("fill", colour) if is_filled else f'fill="none" {_paint("stroke", colour)} stroke-width="2"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" {paint}>{_hint(hint)}</circle>'


def text(
    x: float, y: float, words: str, anchor: Literal["start", "middle", "end"] = "start", *, is_bold: bool = False
) -> str:
    """One line of text on the base line `y`."""
    weight = ' font-weight="600"' if is_bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}"{weight}>{escape(words)}</text>'


def legend(entries: Iterable[tuple[str, str, bool]], left: float, top: float) -> list[str]:
    """A row for each (name, colour, whether it is filled) from `top` on."""
    marks = []
    for row, (name, colour, is_filled) in enumerate(entries):
        y = top + ROW * (row + 0.5)
        marks += [dot(left, y, 5, colour, is_filled=is_filled), text(left + 13, y + 4, name[:90])]
    return marks


def _paint(attribute: str, colour: str) -> str:
    return f'{attribute}="{INK}" {attribute}-opacity="0.22"' if colour == FAINT else f'{attribute}="{colour}"'


def _hint(hint: str) -> str:
    return f"<title>{escape(hint)}</title>" if hint else ""


def to_svg(drawing: Drawing) -> str:
    """The drawing as SVG that follows the text colour of the page around it."""
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(drawing.label)}" '
        f'viewBox="0 0 {drawing.width:g} {drawing.height:g}" width="{drawing.width:g}" font-size="{_FONT_PX}" '
        f'fill="{INK}"><title>{escape(drawing.label)}</title>{"".join(drawing.marks)}</svg>'
    )


def to_file(drawings: Sequence[Drawing]) -> str:
    """The drawings one under another as one SVG file, dark on white."""
    width, height = max(each.width for each in drawings), sum(each.height for each in drawings)
    tops = accumulate((each.height for each in drawings), initial=0.0)
    parts = (
        f'<g transform="translate(0 {top:g})">{"".join(each.marks)}</g>'
        for each, top in zip(drawings, tops, strict=False)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" font-family="sans-serif" '
        f'font-size="{_FONT_PX}" color="#1f2937"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'
    )


# Okabe and Ito's colours, which people who see colours differently can tell apart; none is lost on white or on dark.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c6bb1", "#7f7f7f")
ROW = 20.0  # the height of a line of text
_WIDTH = 640.0
_LEFT, _RIGHT, _TOP = 46.0, 12.0, 34.0
_CHARACTERS = 46


def colour_of(place: int) -> str:
    """The colour of the retriever at `place`."""
    return COLOURS[place % len(COLOURS)]


def curves(metric: str, cutoffs: Sequence[int], means: Mapping[str, Mapping[str, float]], title: str) -> Drawing:
    """`metric`@k of each retriever over k, the places of `cutoffs` evenly spaced."""
    bottom, step = 250.0 + _TOP, (_WIDTH - _LEFT - _RIGHT) / max(1, len(cutoffs) - 1)
    low = int(min((means[name][f"{metric}@{k}"] for name in means for k in cutoffs), default=0.0) * 10) / 10

    def y(value: float) -> float:
        return bottom - (value - low) / max(1.0 - low, 0.1) * 240

    marks = [text(0, 16, title, is_bold=True)]
    for tenth in range(round(low * 10), 11, 2 if low < 0.5 else 1):
        marks += _rule(y(tenth / 10), f"{tenth / 10:.1f}")
    marks += [text(_LEFT + i * step, bottom + 18, f"{k}", "middle") for i, k in enumerate(cutoffs)]
    for place, (name, metrics) in enumerate(means.items()):
        values = [metrics[f"{metric}@{k}"] for k in cutoffs]
        points = [(_LEFT + i * step, y(value)) for i, value in enumerate(values)]
        hints = [f"{name}: {value:.3f} at {k}" for value, k in zip(values, cutoffs, strict=True)]
        marks.append(line(points, colour_of(place)))
        marks += [dot(*at, 3.5, colour_of(place), hint) for at, hint in zip(points, hints, strict=True)]
    marks += legend(((name, colour_of(place), True) for place, name in enumerate(means)), _LEFT + 5, bottom + 34)
    words = "; ".join(f"{name} {metrics[f'{metric}@{cutoffs[-1]}']:.3f}" for name, metrics in means.items())
    label = f"{title}. At {cutoffs[-1]}: {words}"
    return Drawing(width=_WIDTH, height=bottom + 40 + ROW * len(means), label=label, marks=marks)


def bars(metrics: Sequence[str], means: Mapping[str, Mapping[str, float]], title: str) -> Drawing:
    """A group of bars for each of `metrics`, a bar for each retriever."""
    bottom, group = 200.0 + _TOP, (_WIDTH - _LEFT - _RIGHT) / len(metrics)
    width = min(40.0, (group - 16) / max(1, len(means)))
    marks = [text(0, 16, title, is_bold=True)]
    for tenth in range(0, 11, 2):
        marks += _rule(bottom - tenth * 19, f"{tenth / 10:.1f}")
    for g, metric in enumerate(metrics):
        middle = _LEFT + (g + 0.5) * group
        marks.append(text(middle, bottom + 18, metric, "middle"))
        for place, (name, values) in enumerate(means.items()):
            x, tall = middle + (place - len(means) / 2) * width + 1, values[metric] * 190
            marks.append(
                f'<rect x="{x:.1f}" y="{bottom - tall:.1f}" width="{width - 2:.1f}" height="{tall:.1f}" '
                f'fill="{colour_of(place)}">{_hint(f"{name}: {metric} {values[metric]:.3f}")}</rect>'
            )
    return Drawing(width=_WIDTH, height=bottom + 30, label=f"{title}, in the colours of the legend", marks=marks)


def intervals(comparisons: Mapping[str, Comparison], title: str) -> Drawing:
    """The difference of each retriever to the baseline, with its 95 % interval, around a line at zero."""
    edge = max([0.01 / 1.08, *(abs(end) for c in comparisons.values() for end in (c.low, c.high))])
    height = _TOP + ROW * 1.4 * len(comparisons)

    def x(value: float) -> float:
        return _WIDTH * (0.68 + 0.30 * value / (1.08 * edge))

    marks = [text(0, 16, title, is_bold=True), line([(x(0), _TOP - 6), (x(0), height)], INK, 1)]
    for place, (name, c) in enumerate(comparisons.items(), start=1):
        y, colour = _TOP + (place - 0.5) * ROW * 1.4, colour_of(place)
        marks += [
            text(0, y + 4, name if len(name) <= _CHARACTERS else f"{name[: _CHARACTERS - 1]}…"),
            line([(x(c.low), y), (x(c.high), y)], colour, 3),
            dot(x(c.difference), y, 5, colour, f"{name}: {c.difference:+.3f} ({c.low:+.3f} to {c.high:+.3f})"),
        ]
    for value in (-edge, 0.0, edge):
        marks.append(text(x(value), height + 16, f"{value:+.3f}" if value else "0", "middle"))
    words = "; ".join(f"{name} {c.difference:+.3f}" for name, c in comparisons.items())
    return Drawing(width=_WIDTH, height=height + 26, label=f"{title}: {words}", marks=marks)


def _rule(y: float, words: str) -> list[str]:
    return [line([(_LEFT, y), (_WIDTH - _RIGHT, y)], FAINT, 1), text(_LEFT - 8, y + 4, words, "end")]


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

    marks = [line([place(*point) for point in curve.points], colour_of(0))]
    for value in (low + (high - low) * share for share in (0.1, 0.5, 0.9)):
        marks += _rule(place(0, value)[1], f"{value:.3g}")
    if len(values) == 1:
        marks.append(dot(*place(*curve.points[0]), 3, colour_of(0)))
    marks += [text(_LEFT, bottom + 18, "0"), text(_WIDTH - _RIGHT, bottom + 18, f"{end:,.0f} steps", "end")]
    return Drawing(width=_WIDTH, height=bottom + 24, label=label, marks=marks)


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
        f'<div class="scroll" tabindex="0"><table class="figures bars" aria-label="nDCG@10 by retriever"><thead><tr>'
        f"<th>On {counted(n_questions, 'held-out question')}</th><th>nDCG@10</th>"
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
