"""How good the targets are that are made of a ranker's scores and a teacher's orders, from useless to perfect ones.

    make bench TABLE=evidence     BENCH_LISTS (500), BENCH_DEPTH (10,50), BENCH_INSIDE (0.5,0.75,1),
                                  BENCH_PLANTED (0,30), BENCH_PICTURE (a file for the last table as SVG)

Everything is simulated: lists of BENCH_DEPTH scored passages of which the first ten were shown to the teacher, the
answer among those in BENCH_INSIDE of the lists (else half of the time deeper in the list, if it is deeper, and else
nowhere). BENCH_PLANTED questions with a planted answer tell how often the teacher puts it first; 0 for nothing known. A
row is a teacher, a column a ranker; a cell has the MRR of the targets, and how far that is above the better of the
ranker alone and the order alone. A reversed order counts as none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from distill.records import Ranking, ScoreList
from distill.retriever.evidence import fit_evidence, posteriors

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Utilities = Callable[[NDArray[np.bool_], Floats, np.random.Generator], Floats]

_N_SHOWN = 10
_TOLERANCE = 0.02  # our bar
_CELL = 92, 34  # width and height in the picture


def _knowing(answer: float, retrieval: float = 0.3) -> Utilities:
    """A Plackett-Luce teacher: `answer` for the answer, −`retrieval` · log(1 + place in the retrieval)."""
    return lambda is_answer, places, draw: (
        answer * is_answer - retrieval * np.log1p(places) + draw.gumbel(size=is_answer.shape)
    )


def _guessing(share: float) -> Utilities:
    """A teacher that is always right, but for a `share` of the lists, which it orders at random."""

    def utilities(is_answer: NDArray[np.bool_], places: Floats, draw: np.random.Generator) -> Floats:
        knows = draw.random((len(is_answer), 1)) >= share
        return 20.0 * is_answer * knows + draw.gumbel(size=is_answer.shape)

    return utilities


TEACHERS: Mapping[str, Utilities] = {
    "random": _knowing(0.0, 0.0),
    "reversed": lambda *given: -_knowing(6.0, 0.0)(*given),
    "copies": _knowing(0.0, 50.0),
    "half copies": _knowing(3.0, 2.0),
    "weak": _knowing(1.0),
    "middling": _knowing(2.5),
    "good": _knowing(4.5),
    "perfect": _knowing(20.0),
    "guesses 20 %": _guessing(0.2),
}
RANKERS = (0.0, 0.3, 1.0, 2.0, 4.0)  # how many standard deviations the answer's score lies above the others'


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all cells of a table have in common."""

    n_lists: int
    depth: int
    inside: float
    n_planted: int

    def __str__(self) -> str:
        known = f"{self.n_planted} planted answers" if self.n_planted else "nothing known of the teacher"
        return (
            f"{self.n_lists} lists, 10 of {self.depth} shown, the answer among them in {self.inside:.0%}, {known} (all "
            "simulated)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """MRR of the ranker, of the order, and of the targets."""

    ranker: float
    order: float
    targets: float
    counts: bool  # whether the order counts

    @property
    def gain(self) -> float:
        """How far the targets are above the better of the two."""
        return self.targets - max(self.ranker, self.order if self.counts else 0.0)


def main() -> None:
    """Prints a table for each setting."""
    console = Console(width=140)
    for n_lists in _numbers("BENCH_LISTS", "500"):
        for depth in _numbers("BENCH_DEPTH", "10,50"):
            for inside in _numbers("BENCH_INSIDE", "0.5,0.75,1"):
                for n_planted in _numbers("BENCH_PLANTED", "0,30"):
                    setting = Setting(n_lists=int(n_lists), depth=int(depth), inside=inside, n_planted=int(n_planted))
                    cells = {name: [_cell(setting, name, ranker) for ranker in RANKERS] for name in TEACHERS}
                    _print(console, setting, cells)
    if picture := os.environ.get("BENCH_PICTURE"):
        Path(picture).write_text(_drawn(setting, cells), encoding="utf-8")


def _numbers(variable: str, default: str) -> list[float]:
    return [float(number) for number in os.environ.get(variable, default).split(",")]


def _cell(setting: Setting, teacher: str, ranker: float) -> Cell:
    draw = np.random.default_rng([0, setting.n_lists, setting.depth])
    answers = _answers(setting, draw)
    places = np.arange(setting.depth, dtype=float)
    is_answer = places[None] == answers[:, None]
    scores = ranker * is_answer + draw.normal(size=is_answer.shape)
    orders = np.argsort(-TEACHERS[teacher](is_answer[:, :_N_SHOWN], places[:_N_SHOWN], draw), axis=1)
    names = tuple(f"p{place:02d}" for place in range(setting.depth))
    records: list[ScoreList] = [
        ScoreList(id=str(i), question="", passages=names, scores=tuple(row.tolist())) for i, row in enumerate(scores)
    ]
    rankings: dict[str, Ranking] = {
        str(i): Ranking(id=str(i), ranking=tuple(names[place] for place in order), shown=names[:_N_SHOWN])
        for i, order in enumerate(orders)
    }
    top1 = _found_planted(teacher, setting.n_planted) if setting.n_planted else None
    evidence = fit_evidence(records, rankings, top1=top1, top1_weight=setting.n_planted)
    assert evidence
    found = posteriors(records, rankings, evidence)
    targets = np.array([[found[each.id][name] for name in names] for each in records])
    rest = np.tile(np.arange(_N_SHOWN, setting.depth), (len(orders), 1))
    return Cell(
        ranker=_mrr(np.argsort(-scores, axis=1), answers),
        order=_mrr(np.concatenate([orders, rest], axis=1), answers),
        targets=_mrr(np.argsort(-targets, axis=1, kind="stable"), answers),
        counts=teacher != "reversed",
    )


def _answers(setting: Setting, draw: np.random.Generator) -> Integers:
    """The answer's place in the retrieval, (lists,): as 1 / (1 + place) among the shown, so too deeper; −1: nowhere."""
    likely = 1 / (1 + np.arange(setting.depth))
    shares = [likely[:_N_SHOWN] / likely[:_N_SHOWN].sum() * setting.inside, [1 - setting.inside]]
    if setting.depth > _N_SHOWN:
        deeper = likely[_N_SHOWN:] / likely[_N_SHOWN:].sum() * (1 - setting.inside) / 2
        shares = [shares[0], deeper, [(1 - setting.inside) / 2]]
    drawn = draw.choice(setting.depth + 1, size=setting.n_lists, p=np.concatenate(shares))
    return np.where(drawn == setting.depth, -1, drawn)


def _found_planted(teacher: str, n: int) -> float:
    """The share of `n` planted answers that the teacher puts first; each may stand at any place."""
    draw = np.random.default_rng(1)
    answers = draw.integers(0, _N_SHOWN, n)
    places = np.arange(_N_SHOWN, dtype=float)
    return float((TEACHERS[teacher](places[None] == answers[:, None], places, draw).argmax(1) == answers).mean())


def _mrr(orders: Integers, answers: Integers) -> float:
    found = orders == answers[:, None]
    return float(np.where(found.any(1), 1 / (1 + found.argmax(1)), 0.0).mean())


def _print(console: Console, setting: Setting, cells: Mapping[str, Sequence[Cell]]) -> None:
    rankers = [f"{cell.ranker:.3f}" for cell in next(iter(cells.values()))]
    table = Table(
        "teacher", "its MRR", *rankers, title=f"{setting}; {provenance()}", caption="columns: the ranker's MRR"
    )
    for name, row in cells.items():
        shown = [f"{cell.targets:.3f} {cell.gain:+.3f}{' !' if cell.gain < -_TOLERANCE else ''}" for cell in row]
        table.add_row(name, f"{row[0].order:.3f}", *shown)
    console.print(table)


def _drawn(setting: Setting, cells: Mapping[str, Sequence[Cell]]) -> str:
    """The table as a picture: green where the targets are above the better of the two, red where they fail the bar."""
    width, height = _CELL
    left, top = 150, 66
    parts = [
        _text(8, 18, "MRR of the targets, and how far that is above the better of the two; all simulated:", "start"),
        _text(8, 36, str(setting).removesuffix(" (all simulated)"), "start"),
        *(
            _text(left + (i + 0.5) * width, top - 8, f"ranker {cell.ranker:.2f}")
            for i, cell in enumerate(next(iter(cells.values())))
        ),
    ]
    for j, (name, row) in enumerate(cells.items()):
        y = top + j * height
        parts.append(_text(left - 8, y + 21, f"{name}, {row[0].order:.2f}", "end"))
        for i, cell in enumerate(row):
            parts.append(
                f'<rect x="{left + i * width}" y="{y}" width="{width - 2}" height="{height - 2}" '
                f'fill="{_colour(cell.gain)}"/>'
            )
            parts.append(_text(left + (i + 0.5) * width, y + 21, f"{cell.targets:.2f} ({cell.gain:+.2f})"))
    size = left + len(RANKERS) * width + 8, top + len(cells) * height + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{text}</text>'


def _colour(gain: float) -> str:
    if gain < -_TOLERANCE:
        return "#f2a29b"
    return f"hsl(130, 45%, {95 - 250 * min(max(gain, 0.0), 0.12):.0f}%)"


if __name__ == "__main__":
    main()
