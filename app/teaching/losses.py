"""The losses that the trainings of a run have logged so far."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from app.teaching.growing_files import read_object, read_whole_records, stamped
from indexes.paths import DataPaths

Point = tuple[float, float]
_OF_RANKER = "Ranker: agreement with the teacher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One loss of one training by step; `steps` is where it would end."""

    title: str
    trained: tuple[Point, ...]
    held_out: tuple[Point, ...]
    steps: int


def curves_of(paths: DataPaths, name: str) -> list[Curve]:
    """What the trainings of the run have logged so far: the ranker's, then the retriever's."""
    folder = paths.run(name)
    files = [*sorted(folder.glob("ranker-checkpoints/*/losses.jsonl")), folder / "retriever-checkpoints/losses.jsonl"]
    learns = "error of the margins" if _learns_margins(folder) else "divergence from the ranker"
    titles = {"retriever-checkpoints": f"Retriever: {learns}"}
    found = [_curve(*stamped(file), titles.get(file.parent.name, _OF_RANKER)) for file in files]
    return [curve for curve in found if curve]


def _learns_margins(folder: Path) -> bool:
    """Whether stage 2 of the run learns the margins of the ranker's scores, and not their distribution."""
    config = read_object(folder / "config.json")
    method, objective = str(config.get("method", "intermediate")), str(config.get("objective", "kl"))
    return method == "pseudo-label" or (method, objective) == ("intermediate", "margin-mse")


@lru_cache(maxsize=32)
def _curve(file: Path, n_bytes: int, changed_at: float, title: str) -> Curve | None:
    trained: dict[int, float] = {}
    held_out: dict[int, float] = {}
    steps = 0
    key = "eval_agreement" if title == _OF_RANKER else "eval_loss"
    for record in read_whole_records(file) if n_bytes else ():
        step, steps = int(record["step"]), int(record["steps"])
        if "loss" in record:
            _put(trained, step, record["loss"])
        if key in record:
            _put(held_out, step, record[key])
    if not trained and not held_out:
        return None
    shown = () if title == _OF_RANKER else tuple(trained.items())  # loss and agreement have no scale in common
    return Curve(title=title, trained=shown, held_out=tuple(held_out.items()), steps=steps)


def _put(points: dict[int, float], step: int, value: float) -> None:
    """Adds a point; a training that was resumed goes through some steps again, and the later ones count."""
    for stale in [known for known in points if known >= step]:
        del points[stale]
    points[step] = float(value)
