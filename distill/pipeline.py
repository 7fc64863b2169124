"""The whole way from a corpus and an LLM to a better retriever: stages in order, each with a file in and a file out.

A stage whose file is complete is not run again, and one that was killed goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from distill import stages
from distill.run import STAGES, Distillation, Report, RunConfig, Stage, only_process
from indexes.paths import DataPaths

_RUN_STAGE: Mapping[Stage, Callable[[Distillation], None]] = {
    "questions": stages.make_questions,
    "candidates": stages.make_candidates,
    "rankings": stages.make_rankings,
    "ranker": stages.make_ranker,
    "scores": stages.make_scores,
    "retriever": stages.make_retriever,
    "index": stages.make_index,
    "verdict": stages.make_verdict,
}


def run_distillation(
    paths: DataPaths,
    config: RunConfig,
    connect: Callable[[], BaseChatModel],
    report: Report,
    until: Stage = "verdict",
    concurrency: int = 1,
) -> dict[str, Any]:
    """The run's metrics (what `metrics.json` holds), after all stages up to `until`; {} if it ends before the verdict.

    Raises `InputError` if a run of this name has other settings or goes on in another process, and whatever sentence
    a stage has.
    """
    run = Distillation(paths, config, connect, report, concurrency)
    with only_process(run):
        for stage in STAGES[: STAGES.index(until) + 1]:
            _RUN_STAGE[stage](run)
    metrics = run.file("metrics.json")
    return json.loads(metrics.read_text(encoding="utf-8")) if until == "verdict" else {}
