"""What stage 2 trains on and how: a question's passages with their targets, checked and cut, and the settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distill.records import Ranking, ScoreList
from distill.retriever.evidence import Evidence, posteriors
from distill.run_config import Train
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


def training_lists(records: Sequence[ScoreList], texts: Mapping[str, str], n_passages: int) -> list[TrainingList]:
    """The lists of these with at most `n_passages` spread over the scores of each; lists of weight 0 are out.

    Raises `InputError` for a score that is no number, a negative weight, or a passage without text.
    """
    lists = [_training_list(record, spread(record, n_passages)) for record in records if record.passages]
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


def _training_list(whole: ScoreList, record: ScoreList) -> TrainingList:
    kept = set(record.passages)
    return TrainingList(
        question=record.question,
        passages=record.passages,
        scores=record.scores,
        weight=record.weight,
        apart=tuple(passage for passage in whole.passages if passage not in kept),
    )


def spread(record: ScoreList, n: int) -> ScoreList:
    """`record` with `n` of its candidates at even steps from the best to the worst score, so that the list keeps both
    the teacher's favourites and what it thinks little of; best first.
    """
    scores = record.scores
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    last = len(order) - 1
    chosen = order if last < n else [order[round(step * last / max(1, n - 1))] for step in range(n)]
    return replace(
        record,
        passages=tuple(record.passages[place] for place in chosen),
        scores=tuple(scores[place] for place in chosen),
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverConfig:
    """How stage 2 trains.

    - `train`: "both" moves the whole encoder; "query" a copy of it for the questions, while passages keep theirs.
    - `static_learning_rate`: encoders that are a table of token vectors take this one.
    - `batch_size`: questions in a step, each with its list, over all processes together.
    - `n_passages`: of a question's targets, the likeliest and others spread down to the least likely.
    - `max_tokens`: of a passage, while training; nothing is cut when the encoder is used.
    - `in_batch_negatives`: the passages of the step's other lists join a list's softmax (with "both").
    - `passages_at_once`: in one forward pass.
    - `n_corpus`: with "query", at most so many passages beside the candidates stand for the corpus.
    - `most_activations_mb`: where a step would keep more than that, activations are computed again instead of kept.
    - `half_precision`: bfloat16 (float16 on older GPUs) inside the encoder where the device is faster with it.
    """

    train: Train = "both"
    n_epochs: int = 3
    learning_rate: float = 5e-5
    static_learning_rate: float = 1e-2
    batch_size: int = 16
    n_passages: int = 3
    max_tokens: int = 128
    student_temperature: float = 0.05
    in_batch_negatives: bool = True
    passages_at_once: int = 32
    n_corpus: int = 50_000
    most_activations_mb: int = 2500
    half_precision: bool = True


# Our choices, cross-validated on training questions of three corpora (docs/log.md, 2026-11-26). All lists train, for
# a fixed number of epochs: what a held-out sixth would teach is worth more than what stopping earlier gains. A list of
# two, five or ten passages teaches the same there, and takes time in proportion; with the batch's others three will do.
DEFAULTS: Mapping[Train, RetrieverConfig] = {
    "both": RetrieverConfig(train="both"),
    "query": RetrieverConfig(train="query", n_epochs=4, learning_rate=1e-4, batch_size=32, n_passages=50),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of stage 2: its settings, its seed, where it may be resumed from, and whom it tells.

    `report_to` is "none" or a tracker such as "tensorboard" or "trackio".
    """

    config: RetrieverConfig
    checkpoints: Path
    seed: int
    on_progress: Callable[[int, int], None]
    report_to: str = "none"


_LEAST = 1e-6  # a probability below it is as good as none, and its logarithm can be held by JSON


def by_evidence(
    scores: Sequence[ScoreList],
    orders: Mapping[str, Ranking],
    evidence: Evidence,
    filled_in: Sequence[ScoreList],
) -> list[ScoreList]:
    """How likely each passage is the answer, of the questions with an order; what is `filled_in` of the others, unless
    the ranker is found to say nothing: then a question without an order teaches nothing.

    `scores` are of a ranker that has not learned from the orders: one that has repeats them, and the model of evidence
    takes the two for witnesses who have not heard each other.
    """
    said = posteriors(scores, orders, evidence)
    return [
        _target(each, said[each.id]) if each.id in said else other
        for each, other in zip(scores, filled_in, strict=True)
        if each.id in said or evidence.ranker_speaks
    ]


def _target(record: ScoreList, probabilities: Mapping[str, float]) -> ScoreList:
    values = tuple(round(math.log(max(probabilities.get(p, 0.0), _LEAST)), 4) for p in record.passages)
    return replace(record, scores=values)
