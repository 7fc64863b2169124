"""The listwise losses on the two kinds of ranker: from texts to logits, in a form that the trainers take.

A label is (N, 3) for a list: the teacher's rank as in `distill.ranker.listwise`, the part of the logit that does not
train (dense and lexical), the weight of the list. Texts go through the model some at a time, sorted by length: this
changes no result but for what dropout draws, and saves the padding to the longest of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill.jsonl import Record
from distill.ranker.head import Head
from distill.ranker.listwise import Loss
from distill.ranker.signals import scalar_signals
from distill.ranker.targets import PADDING, rank_targets

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, MultiVectorEncoder

_TEXTS_AT_ONCE = 16


class _RankerLoss(nn.Module):
    """A ranker's model, how much its score counts in the logit, and the listwise loss on the logits."""

    def __init__(self, model: MultiVectorEncoder | CrossEncoder, weight: float, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self._weight = weight
        self._loss = loss


class LateInteractionLoss(_RankerLoss):
    """A listwise loss on weight · mean MaxSim + the fixed part."""

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """The loss of a batch: features of the question column, then of N candidate columns; labels (B, N, 3)."""
        from sentence_transformers.multi_vector_encoder.scoring import mean_colbert_kd_scores

        question_features, *passage_features = [dict(features) for features in sentence_features]
        questions = self.model(question_features, task="query")
        passages, mask = self._embed(passage_features)  # (B, N, T, D), (B, N, T)
        with torch.autocast(passages.device.type, enabled=False):  # in bfloat16 near similarities would be equal
            late = mean_colbert_kd_scores(
                questions["token_embeddings"].float(),
                passages.float(),
                queries_mask=questions["attention_mask"].bool(),
                documents_mask=mask,
            )  # (B, N)
        return self._loss(self._weight * late + labels[:, :, 1], labels[:, :, 0].long(), labels[:, 0, 2])

    def _embed(self, columns: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        from sentence_transformers.base.losses.merged_forward import (
            chunked_padded_forward,
            embed_columns_padded,
            merge_feature_batches,
        )
        from sentence_transformers.util import stack_padded_token_embeddings

        merged = merge_feature_batches(columns)
        if merged is None:  # a model whose texts cannot be put in one batch
            return stack_padded_token_embeddings(*embed_columns_padded(self.model, columns, None, "document"))
        lengths = merged["attention_mask"].sum(1)
        order = lengths.argsort()
        rows = {
            key: value[order] if isinstance(value, Tensor) and len(value) == len(order) else value
            for key, value in merged.items()
        }
        vectors, mask = chunked_padded_forward(self.model, rows, "document", _TEXTS_AT_ONCE)
        back = order.argsort()
        n, n_tokens = len(columns), mask.shape[1]  # rows stand column by column
        by_list = vectors[back].reshape(n, -1, n_tokens, vectors.shape[2]).transpose(0, 1)
        return by_list, mask.bool()[back].reshape(n, -1, n_tokens).transpose(0, 1)


class CrossEncoderLoss(_RankerLoss):
    """A listwise loss on weight · logit of question and passage + the fixed part."""

    def forward(self, inputs: Sequence[Sequence[Any]], labels: Sequence[Tensor]) -> Tensor:
        """The loss of a batch: B questions and their lists of passages as texts; B labels (N_i, 3)."""
        from sentence_transformers.util import batch_to_device

        questions, lists = inputs
        pairs = [(q, passage) for q, passages in zip(questions, lists, strict=True) for passage in passages]
        order = sorted(range(len(pairs)), key=lambda place: sum(map(len, pairs[place])))
        found: list[Tensor] = []
        for first in range(0, len(order), _TEXTS_AT_ONCE):
            features = self.model.preprocess([pairs[place] for place in order[first : first + _TEXTS_AT_ONCE]])
            found.append(self.model(batch_to_device(features, self.model.device))["scores"].reshape(-1))
        own = torch.cat(found).float()[torch.tensor(order, device=found[0].device).argsort()]
        given = nn.utils.rnn.pad_sequence(list(labels), batch_first=True, padding_value=PADDING).to(own.device)
        sizes = [len(passages) for passages in lists]
        logits = nn.utils.rnn.pad_sequence(list(torch.split(own, sizes)), batch_first=True)  # (B, N)
        return self._loss(self._weight * logits + given[:, :, 1], given[:, :, 0].long(), given[:, 0, 2])


def late_interaction_lists(
    records: Sequence[Record],
    rankings: Mapping[str, Record],
    weights: Sequence[float],
    texts: Mapping[str, str],
    head: Head,
) -> Dataset:
    """Columns question, passage_1 … passage_N and label; short lists are filled up with empty places."""
    from datasets import Dataset

    n = max(len(record["candidates"]) for record in records)
    columns: dict[str, list[object]] = {"question": [record["question"] for record in records]}
    for place in range(n):
        columns[f"passage_{place + 1}"] = [
            texts[r["candidates"][place]["passage"]] if place < len(r["candidates"]) else "" for r in records
        ]
    labels = [_label(r, rankings[r["id"]], weight, head) for r, weight in zip(records, weights, strict=True)]
    padding = [float(PADDING), 0.0, 0.0]
    return Dataset.from_dict(columns | {"label": [label + [padding] * (n - len(label)) for label in labels]})


def cross_encoder_lists(
    records: Sequence[Record],
    rankings: Mapping[str, Record],
    weights: Sequence[float],
    texts: Mapping[str, str],
    head: Head,
) -> Dataset:
    """Columns question, passages (a list of texts) and label."""
    from datasets import Dataset

    return Dataset.from_dict(
        {
            "question": [record["question"] for record in records],
            "passages": [[texts[c["passage"]] for c in record["candidates"]] for record in records],
            "label": [_label(r, rankings[r["id"]], weight, head) for r, weight in zip(records, weights, strict=True)],
        }
    )


def _label(record: Record, ranking: Record, weight: float, head: Head) -> list[list[float]]:
    dense, lexical = scalar_signals(record)
    rows = zip(rank_targets(record, ranking), dense, lexical, strict=True)
    return [[float(rank), head.dense * d + head.lexical * b, weight] for rank, d, b in rows]
