"""Figures of an evaluation → drawings: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.drawing import FAINT, INK, Box, Dot, Drawing, Line, Mark, Text
from indexes.evaluation import Comparison

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
