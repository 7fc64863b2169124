"""The whole way from a corpus and an LLM to a better retriever: stages in order, each with a file in and a file out.

A stage whose file is complete is not run again, and one that was killed goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from distill import control, labelling, measuring, rounds, teaching
from distill.ranker.token_vectors import TokenVectors
from distill.run import STAGES, Connect, Distillation, Report, RunConfig, Stage, only_process
from indexes.paths import DataPaths

_RUN_STAGE: Mapping[Stage, Callable[[Distillation], None]] = {
    "questions": labelling.make_questions,
    "candidates": labelling.make_candidates,
    "teacher": labelling.assess,
    "rankings": labelling.make_rankings,
    "ranker": teaching.make_ranker,
    "scores": teaching.make_scores,
    "retriever": teaching.make_retriever,
    "control": control.make_control,
    "index": teaching.make_index,
    "verdict": measuring.make_verdict,
}


def run_distillation(
    paths: DataPaths,
    config: RunConfig,
    connect: Connect,
    report: Report,
    until: Stage = "verdict",
    report_to: str = "none",
    token_vectors: TokenVectors | None = None,
) -> dict[str, Any]:
    """The run's metrics (what `metrics.json` holds), after all stages up to `until`; {} if it ends before the verdict.

    Raises `InputError` if a run of this name has other settings or goes on in another process, and whatever sentence
    a stage has. Runs over one corpus that share `token_vectors` embed its passages for the ranker once.
    """
    run = Distillation(paths, config, connect, report, report_to, token_vectors)
    with only_process(run):
        rounds.check_rounds(run)
        teaching.check_ranker(run)
        for stage in STAGES[: STAGES.index(until) + 1]:
            run.say(stage)
            try:
                if stage == "ranker":
                    rounds.make_rounds(run)
                _RUN_STAGE[stage](run)
            finally:
                run.keep_spend()
        if until == "verdict":
            rounds.drop_indexes(run)
    metrics = run.file("metrics.json")
    return json.loads(metrics.read_text(encoding="utf-8")) if until == "verdict" else {}
