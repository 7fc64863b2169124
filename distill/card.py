"""The model card of a run's encoder: what it was taught by, as it really was."""

from __future__ import annotations

from dataclasses import asdict

from distill.labelling import orders
from distill.retriever.publishing import (
    BY_ORDERS,
    WITHOUT_ORDERS,
    Card,
    base_license,
)
from distill.retriever.settings import RetrieverConfig, RetrieverReport
from distill.run import WITHOUT_LLM, Distillation
from indexes.encoder_files import find_encoder


def card_of(
    run: Distillation, name: str, student: str, config: RetrieverConfig, report: RetrieverReport, *, n_questions: int
) -> Card:
    """The card of the encoder `name` that `run` has taught; `student` is the name of what its training began with."""
    is_control = name == run.config.free_name
    is_base = student == run.config.base
    loss = f"{report.loss_at_first:.3f} → {report.loss_at_last:.3f}"
    return Card(
        name=name,
        base=run.config.base,
        corpus=run.corpus.name,
        teacher=WITHOUT_LLM if is_control else _teacher(run),
        questions=f"{n_questions}, {run.config.origin}",
        license=base_license(run.config.base, find_encoder(run.config.base, run.paths)),
        keeps_passages=config.train == "query" and is_base,
        lesson=WITHOUT_ORDERS if is_control else _lesson(run),
        settings=asdict(config) | {"recipe": run.config.recipe, "seed": run.config.seed},
        figures={"KL divergence in training, first to last": loss},
    )


def _teacher(run: Distillation) -> str:
    refused = ", whose orders were not trusted and did not teach" if run.teacher_refused else ""
    people = ", and people's votes" if run.config.votes else ""
    known = ", and passages known to answer" if run.config.positives == "first" else ""
    return run.config.teacher + refused + people + known


def _lesson(run: Distillation) -> str:
    """What the encoder learned from, in a sentence: the LLM's orders may have been refused, or not asked for."""
    return BY_ORDERS if orders(run) else WITHOUT_ORDERS
