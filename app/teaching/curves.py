"""Losses and measured retrievers → safe HTML and SVG that follow the theme: pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app.teaching.losses import Curve, Point
from app.teaching.results import Bar

_WIDTH, _HEIGHT = 480, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 8, 22


def curves_html(curves: Sequence[Curve]) -> str:
    """A plot for each training that has logged something; the words beside it say the same."""
    return "".join(_curve_html(curve) for curve in curves)


def _curve_html(curve: Curve) -> str:
    said = _first_to_last(curve.trained)
    last = int(curve.trained[-1][0])
    caption = f"{curve.title}, step {last:,} of {max(curve.steps, last):,}"
    return (
        f'<figure class="curve"><figcaption>{escape(caption)}</figcaption>'
        f'{_svg(curve, f"{caption}: {said}")}<ul class="legend"><li class="training">training <b>{said}</b></li></ul>'
        "</figure>"
    )


def _first_to_last(points: Sequence[Point]) -> str:
    first, last = points[0][1], points[-1][1]
    return f"{first:.3f}" if len(points) == 1 else f"{first:.3f} → {last:.3f}"


def _svg(curve: Curve, label: str) -> str:
    values = [value for _, value in curve.trained]
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high = low - room, high + room
    end = max([curve.steps, 1, *(step for step, _ in curve.trained)])

    def place(point: Point) -> tuple[float, float]:
        x = _LEFT + point[0] / end * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + (high - point[1]) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    ticks = "".join(_tick(value, place((0, value))[1]) for value in _ticks(low, high))
    line = _line([place(p) for p in curve.trained])
    bottom = _HEIGHT - 6
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">{ticks}'
        f'<text x="{_LEFT}" y="{bottom}">0</text>'
        f'<text x="{_WIDTH - _RIGHT}" y="{bottom}" text-anchor="end">{end:,.0f} steps</text>{line}</svg>'
    )


def _ticks(low: float, high: float) -> list[float]:
    return [low + (high - low) * share for share in (0.1, 0.5, 0.9)]


def _tick(value: float, y: float) -> str:
    return (
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>'
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
