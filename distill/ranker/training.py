"""Training of stage 1: a ranker learns the teacher's orders, and never ends worse than it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.evaluation import BaseEvaluator

from distill.jsonl import Record
from distill.ranker.agreement import calibrate
from distill.ranker.head import HEAD_LOSS, Head, fit_head
from distill.ranker.listwise import find_loss
from distill.ranker.losses import CrossEncoderLoss, LateInteractionLoss, cross_encoder_lists, late_interaction_lists
from distill.ranker.orders import Orders, informative_orders
from distill.ranker.ranker import LateInteractionRanker, Ranker
from distill.ranker.report import RankerReport, RankerSettings
from distill.training import (
    DivergedError,
    ProgressCallback,
    quiet_trainer,
    split_for_early_stopping,
    train_with_smaller_batches,
    trainer_options,
)

_FIT_LISTS = 200  # plenty for three weights


def train_best_ranker(
    rankers: Sequence[Ranker],
    records: Sequence[Record],
    rankings: Mapping[str, Record],
    texts: Mapping[str, str],
    checkpoints: Path,
    settings: RankerSettings,
    on_progress: Callable[[int, int], None],
) -> tuple[Ranker, RankerReport]:
    """Trains each of `rankers` and returns the one that then agrees best with the teacher on held-out orders."""
    reports = [
        train_ranker(ranker, records, rankings, texts, checkpoints / ranker.kind, settings, on_progress)
        for ranker in rankers
    ]
    best = max(range(len(rankers)), key=lambda place: reports[place].agreement_kept)
    compared = tuple((report.kind, report.agreement_kept) for report in reports)
    return rankers[best], replace(reports[best], compared=compared)


def train_ranker(
    ranker: Ranker,
    records: Sequence[Record],
    rankings: Mapping[str, Record],
    texts: Mapping[str, str],
    checkpoints: Path,
    settings: RankerSettings,
    on_progress: Callable[[int, int], None],
) -> RankerReport:
    """Trains `ranker` in place on the teacher's `rankings` of the candidates in `records`, by question id.

    A sixth of the orders, drawn by the seed, is held out; after each epoch the ranker's agreement with the teacher on
    them is measured, and the best epoch is kept. If no training agrees better than the start, the start is kept.
    """
    lists = informative_orders(records, rankings, texts, seed=settings.seed)
    n_train, n_held_out = split_for_early_stopping(len(lists.records))
    train, held_out = lists.part(0, n_train), lists.part(n_train, None)
    start, weights = ranker.head, _copy_of_weights(ranker)
    untrained = held_out.agreement_of(ranker)
    fitted = trained = untrained
    notes: tuple[str, ...] = ()
    if n_held_out:
        ranker.head = _fitted(ranker, train)
        fitted = trained = held_out.agreement_of(ranker)
        if settings.train == "full":
            try:
                notes = _fine_tune(ranker, train, held_out, checkpoints, settings, on_progress)
                trained = held_out.agreement_of(ranker)
            except DivergedError as error:
                notes = (f"{error} The ranker stays as it began.",)
    else:
        notes = ("Fewer than two orders say anything, so the ranker stays as it began.",)
    kept = max(("untrained", untrained), ("fitted", fitted), ("trained", trained), key=lambda found: found[1])[0]
    if kept != "trained":
        ranker.model.load_state_dict(weights)
    if kept == "untrained":
        ranker.head = start
    return RankerReport(
        kind=ranker.kind,
        loss=settings.loss if settings.train == "full" else HEAD_LOSS,
        n_train=n_train if n_held_out else 0,
        n_held_out=n_held_out,
        n_left_out=len(records) - len(lists.records),
        agreement_fused=held_out.agreement_of_retrieval(),
        agreement_untrained=untrained,
        agreement_fitted=fitted,
        agreement_trained=trained,
        kept=kept,
        calibration=calibrate(ranker.score(held_out.records, texts), held_out.targets),
        notes=notes,
    )


def _copy_of_weights(ranker: Ranker) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in ranker.model.state_dict().items()}


def _fitted(ranker: Ranker, train: Orders) -> Head:
    some = train.part(0, _FIT_LISTS)
    return fit_head(ranker.features(some.records, some.texts), some.targets, ranker.head, some.weights)


class _AgreementEvaluator(BaseEvaluator):
    """Agreement with the teacher on held-out orders."""

    def __init__(self, ranker: Ranker, held_out: Orders) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.primary_metric = "agreement"
        self._ranker = ranker
        self._held_out = held_out

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        return {"agreement": self._held_out.agreement_of(self._ranker)}


def _fine_tune(
    ranker: Ranker,
    train: Orders,
    held_out: Orders,
    checkpoints: Path,
    settings: RankerSettings,
    on_progress: Callable[[int, int], None],
) -> tuple[str, ...]:
    trainer_class, arguments_class, loss_class, make_lists = _parts(ranker)
    mean = float(np.mean(train.weights))
    weights = [weight / mean for weight in train.weights]  # so that the learning rate means the same for all teachers
    dataset = make_lists(train.records, train.rankings, weights, train.texts, ranker.head)
    evaluator = _AgreementEvaluator(ranker, held_out)

    def make_trainer(batch_size: int, n_batches: int) -> Any:
        options = trainer_options(
            checkpoints,
            seed=settings.seed,
            device=ranker.model.device.type,
            metric="eval_agreement",
            greater_is_better=True,
            report_to=settings.report_to,
        )
        arguments = arguments_class(
            num_train_epochs=settings.n_epochs,
            learning_rate=settings.learning_rate,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=n_batches,
            **options,
        )
        return quiet_trainer(
            trainer_class(
                model=ranker.model,
                args=arguments,
                train_dataset=dataset,
                evaluator=evaluator,
                loss=loss_class(ranker.model, ranker.head.model, find_loss(settings.loss)),
                callbacks=[ProgressCallback(on_progress)],
            )
        )

    return train_with_smaller_batches(make_trainer, batch_size=settings.batch_size, checkpoints=checkpoints)


def _parts(ranker: Ranker) -> tuple[Any, Any, Any, Any]:
    """The library's trainer and its arguments, our loss and the form of the lists for this kind of ranker."""
    if ranker.kind == LateInteractionRanker.kind:
        from sentence_transformers.multi_vector_encoder import (
            MultiVectorEncoderTrainer,
            MultiVectorEncoderTrainingArguments,
        )

        return (
            MultiVectorEncoderTrainer,
            MultiVectorEncoderTrainingArguments,
            LateInteractionLoss,
            late_interaction_lists,
        )
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    return CrossEncoderTrainer, CrossEncoderTrainingArguments, CrossEncoderLoss, cross_encoder_lists
