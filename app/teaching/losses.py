"""The losses that the trainings of a run have logged so far."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.teaching.growing_files import read_whole_records, stamped
from indexes.paths import DataPaths

Point = tuple[float, float]
_TITLES = {"ranker-checkpoints": "Ranker: loss", "retriever-checkpoints": "Retriever: divergence from its targets"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The loss of one training by step; `steps` is where it would end."""

    title: str
    trained: tuple[Point, ...]
    steps: int


def curves_of(paths: DataPaths, name: str) -> list[Curve]:
    """What the trainings of the run have logged so far: the ranker's, then the retriever's."""
    files = [paths.run(name) / folder / "losses.jsonl" for folder in _TITLES]
    found = [_curve(*stamped(file), _TITLES[file.parent.name]) for file in files]
    return [curve for curve in found if curve]


@lru_cache(maxsize=32)
def _curve(file: Path, n_bytes: int, changed_at: float, title: str) -> Curve | None:
    trained: dict[int, float] = {}
    steps = 0
    for record in read_whole_records(file) if n_bytes else ():
        if "loss" not in record:  # earlier versions noted what was held out in lines of their own
            continue
        step, steps = int(record["step"]), int(record["steps"])
        _put(trained, step, record["loss"])
    return Curve(title=title, trained=tuple(trained.items()), steps=steps) if trained else None


def _put(points: dict[int, float], step: int, value: float) -> None:
    """Adds a point; a training that was resumed goes through some steps again, and the later ones count."""
    for stale in [known for known in points if known >= step]:
        del points[stale]
    points[step] = float(value)
