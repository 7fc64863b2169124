"""Training of stage 1: the ranker learns the teacher's orders by ListMLE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from distill.jsonl import Record
from distill.listwise import PADDING, list_mle
from distill.permutations import kendall_tau
from distill.ranker import Head, LateInteractionRanker, Ranker, fit_head, rank_targets, scalar_signals
from distill.training import (
    ProgressCallback,
    last_checkpoint,
    quiet_trainer,
    split_for_early_stopping,
    trainer_options,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

N_EPOCHS = 2
LEARNING_RATE = 2e-5
BATCH_SIZE = 4  # questions, each with all its candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class RankerReport:
    """Kendall τ with the teacher on orders that did not train: untrained, as trained, and of the fused order."""

    n_train: int
    n_held_out: int
    agreement_fused: float
    agreement_untrained: float
    agreement_trained: float
    kept: str


def train_ranker(
    base: SentenceTransformer,
    records: Sequence[Record],
    rankings: Mapping[str, Record],
    texts: Mapping[str, str],
    checkpoints: Path,
    *,
    seed: int,
    on_progress: Callable[[int, int], None],
    n_epochs: int = N_EPOCHS,
) -> tuple[LateInteractionRanker, RankerReport]:
    """A ranker begun from `base` and trained on the teacher's `rankings` of the candidates in `records`.

    A sixth of the orders is held out to decide when to stop. If on them no training agrees with the teacher better
    than the start, the start is kept.
    """
    seen = [_only_shown(record, rankings[record["id"]]) for record in records]
    n_train, n_held_out = split_for_early_stopping(len(seen))
    train, held_out = seen[:n_train], seen[n_train:]
    ranker = LateInteractionRanker.from_encoder(base)
    untrained = LateInteractionRanker.from_encoder(base)
    ranker.head = _fitted(ranker, train, rankings, texts)
    if held_out:
        _fine_tune(ranker, train, held_out, rankings, texts, checkpoints, seed, on_progress, n_epochs)
        ranker.head = _fitted(ranker, train, rankings, texts)
    before = agreement(untrained, held_out, rankings, texts)
    after = agreement(ranker, held_out, rankings, texts)
    best = ranker if after >= before else untrained
    report = RankerReport(
        n_train=n_train,
        n_held_out=n_held_out,
        agreement_fused=_mean_tau([[c["passage"] for c in r["candidates"]] for r in held_out], held_out, rankings),
        agreement_untrained=before,
        agreement_trained=after,
        kept="trained" if best is ranker else "untrained",
    )
    return best, report


def agreement(
    ranker: Ranker, records: Sequence[Record], rankings: Mapping[str, Record], texts: Mapping[str, str]
) -> float:
    """Mean Kendall τ between the ranker's and the teacher's orders; 0 without records."""
    orders = []
    for record, scores in zip(records, ranker.score(records, texts), strict=True):
        by_score = sorted(range(len(scores)), key=lambda place, scores=scores: -scores[place])  # type: ignore[misc]
        orders.append([record["candidates"][place]["passage"] for place in by_score])
    return _mean_tau(orders, records, rankings)


def _mean_tau(orders: Sequence[Sequence[str]], records: Sequence[Record], rankings: Mapping[str, Record]) -> float:
    taus = [kendall_tau(order, rankings[r["id"]]["ranking"]) for order, r in zip(orders, records, strict=True)]
    return sum(taus) / len(taus) if taus else 0.0


def _only_shown(record: Record, ranking: Record) -> Record:
    shown = set(ranking["shown"])
    return record | {"candidates": [c for c in record["candidates"] if c["passage"] in shown]}


def _fitted(
    ranker: LateInteractionRanker,
    records: Sequence[Record],
    rankings: Mapping[str, Record],
    texts: Mapping[str, str],
) -> Head:
    targets = [rank_targets(record, rankings[record["id"]]) for record in records]
    return fit_head(ranker.features(records, texts), targets, Head())


class ListMLELoss(nn.Module):
    """ListMLE on late interaction plus the fixed dense and lexical parts of the logit.

    Label (B, N, 2): the teacher's rank as in `list_mle`, and the part of the logit that does not train.
    """

    def __init__(self, model: MultiVectorEncoder, weight: float) -> None:
        super().__init__()
        self.model = model
        self._weight = weight

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The loss of a batch: features of the question column, then of N candidate columns."""
        from sentence_transformers.base.losses.merged_forward import embed_columns_padded
        from sentence_transformers.multi_vector_encoder.scoring import mean_colbert_kd_scores
        from sentence_transformers.util import stack_padded_token_embeddings

        query_features, *passage_features = [dict(features) for features in sentence_features]
        queries = self.model(query_features, task="query")
        columns = embed_columns_padded(self.model, passage_features, None, task_default="document")
        passages, mask = stack_padded_token_embeddings(*columns)  # (B, N, T, D), (B, N, T)
        late = mean_colbert_kd_scores(
            queries["token_embeddings"],
            passages,
            queries_mask=queries["attention_mask"].bool(),
            documents_mask=mask,
        )  # (B, N)
        return list_mle(self._weight * late + labels[:, :, 1], labels[:, :, 0].long())


def _fine_tune(
    ranker: LateInteractionRanker,
    train: Sequence[Record],
    held_out: Sequence[Record],
    rankings: Mapping[str, Record],
    texts: Mapping[str, str],
    checkpoints: Path,
    seed: int,
    on_progress: Callable[[int, int], None],
    n_epochs: int,
) -> None:
    from sentence_transformers.multi_vector_encoder import (
        MultiVectorEncoderTrainer,
        MultiVectorEncoderTrainingArguments,
    )

    options = trainer_options(checkpoints, seed=seed, device=ranker.model.device.type)
    arguments = MultiVectorEncoderTrainingArguments(
        num_train_epochs=n_epochs,
        learning_rate=LEARNING_RATE,
        per_device_train_batch_size=BATCH_SIZE,
        per_device_eval_batch_size=BATCH_SIZE,
        **options,
    )
    n_columns = max(len(record["candidates"]) for record in [*train, *held_out])
    trainer = quiet_trainer(
        MultiVectorEncoderTrainer(
            model=ranker.model,
            args=arguments,
            train_dataset=_dataset(train, rankings, texts, ranker.head, n_columns),
            eval_dataset=_dataset(held_out, rankings, texts, ranker.head, n_columns),
            loss=ListMLELoss(ranker.model, ranker.head.late_interaction),
            callbacks=[ProgressCallback(on_progress)],
        )
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))


def _dataset(
    records: Sequence[Record],
    rankings: Mapping[str, Record],
    texts: Mapping[str, str],
    head: Head,
    n_columns: int,
) -> Dataset:
    """Columns question, passage_1 … passage_N and label; short lists are filled up with empty, unranked places."""
    from datasets import Dataset

    columns: dict[str, list[object]] = {"question": [record["question"] for record in records]}
    labels = []
    for record in records:
        targets = rank_targets(record, rankings[record["id"]])
        dense, lexical = scalar_signals(record)
        rest = [head.dense * d + head.lexical * b for d, b in zip(dense, lexical, strict=True)]
        rows = [[float(target), part] for target, part in zip(targets, rest, strict=True)]
        labels.append(rows + [[float(PADDING), 0.0]] * (n_columns - len(rows)))
    for column in range(n_columns):
        columns[f"passage_{column + 1}"] = [
            texts[r["candidates"][column]["passage"]] if column < len(r["candidates"]) else "" for r in records
        ]
    return Dataset.from_dict(columns | {"label": labels})
