"""The free control: what the run's questions teach without any order, trained beside what orders teach.

An LLM is worth its cost only above it. It differs from the run's encoder in one thing: its targets are the scores of
the ranker as it begins, before any order has taught it. It is an encoder like any other, `NAME-free`, and can be
promoted.
"""

from __future__ import annotations

from distill.json_files import read_json
from distill.labelling import orders
from distill.ranker.ranker import LateInteractionRanker
from distill.retriever.settings import DEFAULTS
from distill.retriever.targets import by_scores
from distill.run import Distillation
from distill.teaching import index_by, score_candidates, train_encoder, training_records, untrained_ranker

_SCORES = "control-scores.jsonl"


def control_of(run: Distillation) -> str:
    """The name of the run's free control, "" where it has none: a run without orders is free itself."""
    return run.config.free_name if run.config.free_name and orders(run) else ""


def make_control(run: Distillation) -> None:
    """Trains the free control and indexes the corpus by it."""
    name = control_of(run)
    if not name:
        return
    folder = run.paths.encoder(name)
    if not folder.is_dir():
        records = by_scores(training_records(run, _untrained_scores(run)))
        train_encoder(run, name, folder, records, DEFAULTS[run.config.train], "control")
    index_by(run, name, "control")


def _untrained_scores(run: Distillation) -> str:
    """The file of the run that has the scores of the ranker as it begins, written if it is not there yet."""
    ranker = read_json(run.file("ranker") / "report.json")
    if (ranker.get("kind"), ranker.get("kept")) == (LateInteractionRanker.kind, "untrained"):
        return "scores.jsonl"
    if not run.file(_SCORES).is_file():
        score_candidates(run, untrained_ranker(run), run.file(_SCORES), "control")
    return _SCORES
