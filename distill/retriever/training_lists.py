"""What stage 2 trains on: a question's passages with their targets, checked and cut to length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distill.jsonl import Record
from indexes.errors import InputError

_FEW = 0.03  # of an epoch's lists, other ones each time, may be left out for the sake of whole steps


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingList:
    """A question, N passages, the logarithms of their targets (up to a constant), best first, and the list's weight.

    `apart` are passages of the question that were left out of the list: they are no negatives of it either.
    """

    question: str
    passages: tuple[str, ...]
    scores: tuple[float, ...]
    weight: float = 1.0
    apart: tuple[str, ...] = ()


def training_lists(records: Sequence[Record], texts: Mapping[str, str], n_passages: int) -> list[TrainingList]:
    """The lists of score records with at most `n_passages` spread over the scores of each; lists of weight 0 are out.

    Raises `InputError` for a score that is no number, a negative weight, or a passage without text.
    """
    lists = [_training_list(record, spread(record, n_passages)) for record in records if record["passages"]]
    for each in lists:
        if not all(map(math.isfinite, each.scores)) or not (math.isfinite(each.weight) and each.weight >= 0):
            raise InputError(
                f"Scores have to be finite numbers and a weight at least 0, but the list of question "
                f"'{each.question[:60]}' has others. Score the candidates again."
            )
        if missing := [passage for passage in each.passages if passage not in texts]:
            raise InputError(
                f"Each scored passage has to be in the corpus, but '{missing[0]}' is not. "
                "The corpus has changed since the candidates were retrieved: begin a new run."
            )
    return [each for each in lists if each.weight > 0]


def _training_list(whole: Record, record: Record) -> TrainingList:
    kept = set(record["passages"])
    return TrainingList(
        question=record["question"],
        passages=tuple(record["passages"]),
        scores=tuple(float(score) for score in record["scores"]),
        weight=float(record.get("weight", 1.0)),
        apart=tuple(passage for passage in whole["passages"] if passage not in kept),
    )


def spread(record: Record, n: int) -> Record:
    """`record` with `n` of its candidates at even steps from the best to the worst score, so that the list keeps both
    the teacher's favourites and what it thinks little of; best first.
    """
    scores = record["scores"]
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    last = len(order) - 1
    chosen = order if last < n else [order[round(step * last / max(1, n - 1))] for step in range(n)]
    return record | {key: [record[key][place] for place in chosen] for key in ("passages", "scores")}


def lists_in_a_step(n_lists: int, wanted: int, n_processes: int) -> int:
    """How many lists make a step: at most `wanted` and more than half of that, such that an epoch of whole steps leaves
    few lists out and that 1, 2 or 4 processes come to the same number.

    Raises `InputError` if there are fewer lists than processes.
    """
    if n_lists < n_processes:
        raise InputError(
            f"Each of the {n_processes} processes needs a question to train on, but there are {n_lists}. "
            "Start fewer processes."
        )
    most = min(max(wanted, n_processes), n_lists)
    unit = math.lcm(4 if most >= 16 else 2 if most >= 4 else 1, n_processes)
    unit = unit if unit <= most else n_processes
    sizes = [size for size in range(unit, most + 1, unit) if 2 * size > most]
    return min(sizes, key=lambda size: (max(n_lists % size, _FEW * n_lists), -size))
