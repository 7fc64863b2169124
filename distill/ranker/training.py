"""Training of stage 1: a ranker learns the teacher's orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from distill.ranker.agreement import Orders, RankerSettings, informative_orders
from distill.ranker.head import Head, fit_head
from distill.ranker.losses import (
    CrossEncoderLoss,
    LateInteractionLoss,
    Loss,
    cross_encoder_lists,
    labels_of,
    late_interaction_lists,
    list_mle,
    p_list_mle,
)
from distill.ranker.ranker import LateInteractionRanker, Ranker
from distill.records import CandidateList, Kept, RankerReport, Ranking
from distill.trainer import (
    DivergedError,
    ProgressCallback,
    quiet_trainer,
    split_held_out,
    train_with_smaller_batches,
    trainer_options,
)

_KEPT: tuple[Kept, ...] = ("untrained", "fitted", "trained")  # of equally good ones the first is kept


def train_ranker(
    ranker: Ranker,
    records: Sequence[CandidateList],
    rankings: Mapping[str, Ranking],
    texts: Mapping[str, str],
    checkpoints: Path,
    settings: RankerSettings,
    on_progress: Callable[[int, int], None],
) -> RankerReport:
    """Trains `ranker` in place on the teacher's `rankings` of the candidates in `records`, by question id.

    A sixth of the orders, drawn by the seed, is held out: the three weights of the head are fitted to them, and they
    say whether the ranker is kept as it began, with its head fitted, or trained. The last is kept in any case where
    the settings weigh no signals: that is the paper's recipe.
    """
    lists = informative_orders(records, rankings, texts, seed=settings.seed)
    n_train, n_held_out = split_held_out(len(lists.records))
    train, held_out = lists.part(0, n_train), lists.part(n_train, None)
    if not settings.weighs_signals:
        ranker.head = replace(ranker.head, dense=0.0, lexical=0.0)
    heads: dict[Kept, Head] = {"untrained": ranker.head}
    found: dict[Kept, float] = {"untrained": held_out.agreement_of(ranker)}
    weights = {name: tensor.detach().cpu().clone() for name, tensor in ranker.model.state_dict().items()}
    notes: tuple[str, ...] = ()
    if not n_held_out:
        notes = ("Fewer than two orders say anything, so the ranker stays as it began.",)
    elif settings.weighs_signals:
        heads["fitted"] = ranker.head = _fitted(ranker, held_out, settings)
        found["fitted"] = held_out.agreement_of(ranker)
    if n_held_out and settings.trains_model:
        ranker.head = heads["untrained"]
        try:
            notes = _fine_tune(ranker, train, checkpoints, settings, on_progress)
            heads["trained"] = ranker.head = _fitted(ranker, held_out, settings)
            found["trained"] = held_out.agreement_of(ranker)
        except DivergedError as error:
            notes = (f"{error} The ranker stays as it began.",)
    kept: Kept = max((name for name in _KEPT if name in found), key=lambda name: found[name])
    if not settings.weighs_signals and "trained" in heads:
        kept = "trained"
    ranker.head = heads[kept]
    if kept != "trained":
        ranker.model.load_state_dict(weights)
    return RankerReport(
        kind=ranker.kind,
        loss=_loss_of(settings).__name__ if settings.trains_model else "",
        n_train=n_train if n_held_out else 0,
        n_held_out=n_held_out,
        n_left_out=len(records) - len(lists.records),
        agreement_retrieval=held_out.agreement_of_retrieval(),
        agreement_untrained=found["untrained"],
        agreement_fitted=found.get("fitted"),
        agreement_trained=found.get("trained"),
        kept=kept,
        notes=notes,
    )


def _loss_of(settings: RankerSettings) -> Loss:
    return p_list_mle if settings.weighs_signals else list_mle


def _fitted(ranker: Ranker, orders: Orders, settings: RankerSettings) -> Head:
    if not settings.weighs_signals:
        return ranker.head
    return fit_head(ranker.features(orders.records, orders.texts), orders.targets, ranker.head, orders.weights)


def _fine_tune(
    ranker: Ranker,
    train: Orders,
    checkpoints: Path,
    settings: RankerSettings,
    on_progress: Callable[[int, int], None],
) -> tuple[str, ...]:
    trainer_class, arguments_class, loss_class, make_lists = _parts(ranker)
    mean = float(np.mean(train.weights))
    weights = [weight / mean for weight in train.weights]  # so that the learning rate means the same for all teachers
    shortened = [_at_most(record, train.rankings[record.id], settings.n_passages) for record in train.records]
    labels = labels_of(shortened, train.rankings, weights, train.texts)
    dataset = make_lists(shortened, labels, train.texts)

    def make_trainer(batch_size: int, n_batches: int) -> Any:
        options = trainer_options(
            checkpoints, seed=settings.seed, device=ranker.model.device.type, report_to=settings.report_to
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
                loss=loss_class(ranker.model, ranker.head.model, _loss_of(settings), in_batch=settings.weighs_signals),
                callbacks=[ProgressCallback(on_progress)],
            )
        )

    whole = ranker.model.max_seq_length
    ranker.model.max_seq_length = min(whole or settings.max_tokens, settings.max_tokens)
    try:
        return train_with_smaller_batches(make_trainer, batch_size=settings.batch_size, checkpoints=checkpoints)
    finally:
        ranker.model.max_seq_length = whole


def _at_most(record: CandidateList, ranking: Ranking, n: int) -> CandidateList:
    """`record` with `n` of its candidates at even steps from the one that the teacher put first to its last."""
    places = {passage: place for place, passage in enumerate(ranking.ranking)}
    by_place = sorted(record.candidates, key=lambda candidate: places.get(candidate.passage, len(places)))
    last = len(by_place) - 1
    chosen = by_place if last < n else [by_place[round(step * last / max(1, n - 1))] for step in range(n)]
    return replace(record, candidates=tuple(chosen))


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
