"""The losses of stage 1: how far a ranker's scores are from the teacher's orders, in a form that the trainers take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from distill.candidates import PADDING, UNRANKED, rank_targets
from distill.records import CandidateList, Ranking

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, MultiVectorEncoder


_NEVER = -1e9  # finite stand-in for minus infinity: its exponential is 0, and no gradient turns into NaN

Labels = Iterable[list[list[float]]]
Loss = Callable[..., Tensor]  # (scores, targets, weights=None) → scalar


def list_mle(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """ListMLE: negative log-likelihood of the order under Plackett-Luce, mean over a list's placed candidates.

    Xia et al., ICML 2008; leaving the tail unordered is the likelihood of a top-m list under the same model.
    """
    losses, placed, _ = _plackett_luce(scores, targets)
    return _mean(losses.sum(1) / placed.sum(1).clamp(min=1), weights)


def p_list_mle(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Position-aware ListMLE: the i-th of n places (from 1) counts 2^(n-i) - 1, so the first ones decide.

    Lan et al., UAI 2014. The weights of a list are scaled to the sum 1.
    """
    losses, placed, present = _plackett_luce(scores, targets)
    place = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    n = present.sum(1, keepdim=True)
    importance = (torch.exp2(-place.float()) - torch.exp2(-n.float())).clamp(min=0.0) * placed  # divided by 2^n
    return _mean((losses * importance).sum(1) / importance.sum(1).clamp(min=1e-12), weights)


def _plackett_luce(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By place in the teacher's order, each (B, N): the placed candidate's negative log-likelihood to be drawn before
    all after it (0 elsewhere), whether a candidate is placed there, whether there is any.
    """
    order = targets.masked_fill(targets == PADDING, 2 * UNRANKED).argsort(dim=1, stable=True)
    sorted_targets = targets.gather(1, order)
    present = sorted_targets != PADDING
    placed = present & (sorted_targets != UNRANKED)
    logits = scores.float().gather(1, order).masked_fill(~present, _NEVER)
    tail = logits.flip(1).logcumsumexp(1).flip(1)  # (B, N): log-sum-exp over this place and all after it
    return (tail - logits).masked_fill(~placed, 0.0), placed, present


def _mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses.mean() if weights is None else (losses * weights).mean()


_TEXTS_AT_ONCE = 16


class _RankerLoss(nn.Module):
    """A ranker's model, what its score is multiplied by to be a logit, and the listwise loss on the logits."""

    def __init__(self, model: MultiVectorEncoder | CrossEncoder, weight: float, loss: Loss, *, in_batch: bool) -> None:
        super().__init__()
        self.model = model
        self.in_batch = in_batch
        self._weight = weight
        self._loss = loss


class LateInteractionLoss(_RankerLoss):
    """A listwise loss on weight · mean MaxSim. With `in_batch` the passages of the batch's other lists are candidates
    too, which come after all that the teacher placed.
    """

    def forward(self, sentence_features: Iterable[dict[str, Any]], labels: Tensor) -> Tensor:
        """The loss of a batch: features of the question column, then of N candidate columns; labels (B, N, 3)."""
        question_features, *passage_features = [dict(features) for features in sentence_features]
        questions = self.model(question_features, task="query")
        passages, there = self._embed(passage_features)  # (B, N, T, D), (B, N, T)
        with torch.autocast(passages.device.type, enabled=False):  # in bfloat16 near similarities would be equal
            late = self._weight * mean_max_sim(
                questions["token_embeddings"].float(),
                questions["attention_mask"].bool(),
                passages.float().flatten(0, 1),
                there.flatten(0, 1),
            )  # (B, B · N)
        ranks, numbers = labels[:, :, 0].long(), labels[:, :, 2].long()
        n_lists, n = ranks.shape
        own = late.reshape(n_lists, n_lists, n)[torch.arange(n_lists), torch.arange(n_lists)]
        if self.in_batch:
            others, rank = _log_sum_of_others(late, ranks, numbers)
            own, ranks = torch.cat([own, others], 1), torch.cat([ranks, rank], 1)
        return self._loss(own, ranks, labels[:, 0, 1])

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


def mean_max_sim(questions: Tensor, is_question: Tensor, passages: Tensor, is_passage: Tensor) -> Tensor:
    """(B, P): for each question token the greatest similarity to a token of the passage, averaged (ColBERT,
    arXiv 2004.12832). `questions` (B, Q, D) and `passages` (P, T, D) hold unit vectors, the others their masks.
    """
    similarities = torch.einsum("bqd,ptd->bpqt", questions, passages)
    best = similarities.masked_fill(~is_passage[None, :, None, :], _NEVER).amax(3).clamp(min=-1.0)
    asked = is_question[:, None, :]
    return (best * asked).sum(2) / asked.sum(2)


def _log_sum_of_others(scores: Tensor, ranks: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1): the log-sum-exp of `scores` (B, B · N) over the passages of other lists that are not in a list's own; and
    (B, 1): its rank, `UNRANKED`, or `PADDING` where no other list has another passage.
    """
    is_own = (numbers[:, :, None] == numbers.flatten()[None, None, :]).any(1)  # (B, B · N)
    is_other = ~is_own & (ranks.flatten() != PADDING)[None, :]
    total = scores.masked_fill(~is_other, _NEVER).logsumexp(1, keepdim=True)
    return total, torch.where(is_other.any(1, keepdim=True), UNRANKED, PADDING)


class CrossEncoderLoss(_RankerLoss):
    """A listwise loss on weight · logit of question and passage; `in_batch` changes nothing, as each pair costs a pass
    through the model.
    """

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
        return self._loss(self._weight * logits, given[:, :, 0].long(), given[:, 0, 1])


def late_interaction_lists(records: Sequence[CandidateList], labels: Labels, texts: Mapping[str, str]) -> Dataset:
    """Columns question, passage_1 … passage_N and label; short lists are filled up with empty places."""
    from datasets import Dataset

    n = max(len(record.candidates) for record in records)
    columns: dict[str, list[object]] = {"question": [record.question for record in records]}
    for place in range(n):
        columns[f"passage_{place + 1}"] = [
            texts[r.candidates[place].passage] if place < len(r.candidates) else "" for r in records
        ]
    padding = [float(PADDING), 0.0, float(PADDING)]
    return Dataset.from_dict(columns | {"label": [label + [padding] * (n - len(label)) for label in labels]})


def cross_encoder_lists(records: Sequence[CandidateList], labels: Labels, texts: Mapping[str, str]) -> Dataset:
    """Columns question, passages (a list of texts) and label."""
    from datasets import Dataset

    passages = [[texts[c.passage] for c in record.candidates] for record in records]
    return Dataset.from_dict({"question": [r.question for r in records], "passages": passages, "label": list(labels)})


def labels_of(
    records: Sequence[CandidateList],
    rankings: Mapping[str, Ranking],
    weights: Sequence[float],
    texts: Mapping[str, str],
) -> Labels:
    """For each list what the losses take of its N candidates, (N, 3): the teacher's rank, the weight of the list, and
    the number of the passage's text.
    """
    numbers: dict[str, int] = {}  # by text: a passage that stands in the corpus twice is not pushed away from itself
    for record, weight in zip(records, weights, strict=True):
        ranks = rank_targets(record, rankings[record.id])
        of_text = [numbers.setdefault(texts[c.passage], len(numbers)) for c in record.candidates]
        yield [[float(rank), weight, float(number)] for rank, number in zip(ranks, of_text, strict=True)]
