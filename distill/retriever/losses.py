"""Losses that bring a retriever's cosines to a teacher's scores of whole lists.

A batch names its lists by number; passages, targets and weights wait in the loss, so lists may differ in length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import all_gather, all_gather_with_grad
from torch import Tensor, nn
from torch.nn.functional import normalize, pad
from torch.nn.utils.rnn import pad_sequence

from distill.retriever.lists import TrainingList
from indexes.types import Vectors

Features = dict[str, Any]
NO_PASSAGE = -1


class ListTargets(nn.Module):
    """The teacher's side of M lists of at most N passages, in tensors.

    rows (M, N): passage numbers, NO_PASSAGE where a list is shorter; apart (M, K): those of the question that are not
    in its list; logits (M, N): the logarithms of its targets, up to a constant of each list, -inf where there is no
    passage; weights (M,): their mean is 1.
    """

    rows: Tensor
    apart: Tensor
    logits: Tensor
    weights: Tensor

    def __init__(
        self,
        lists: Sequence[TrainingList],
        numbers: Mapping[str, int],
        *,
        student_temperature: float,
    ) -> None:
        super().__init__()
        logits = pad_sequence([torch.tensor(each.scores) for each in lists], True, -torch.inf)
        rows = _padded([[numbers[passage] for passage in each.passages] for each in lists])
        apart = _padded([[numbers.get(passage, NO_PASSAGE) for passage in each.apart] for each in lists])
        weights = torch.tensor([each.weight for each in lists])
        self.register_buffer("rows", rows)
        self.register_buffer("apart", apart)
        self.register_buffer("logits", logits)
        self.register_buffer("weights", weights / weights.mean())
        self.student_temperature = student_temperature

    def loss(self, lists: Tensor, cosines: Tensor, log_normaliser: Tensor) -> Tensor:
        """The mean over the lists of KL(teacher ‖ student) times their weights, a scalar.

        `lists` (B,) are list numbers, `cosines` (B, N) those of their passages, `log_normaliser` (B,) the logarithm of
        what the student's softmax is divided by.
        """
        targets, there = self.logits[lists], self.rows[lists] != NO_PASSAGE
        student = (cosines / self.student_temperature).masked_fill(~there, 0.0)
        log_teacher = torch.log_softmax(targets, dim=1).masked_fill(~there, 0.0)
        teacher = log_teacher.exp() * there
        each = (teacher * (log_teacher - (student - log_normaliser[:, None]))).sum(1)
        return (each * self.weights[lists]).mean()


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    return pad_sequence([torch.tensor(row, dtype=torch.long) for row in rows], True, NO_PASSAGE)


def _in_full_precision(tensor: Tensor) -> torch.autocast:
    # Cosines over a temperature of 0.05 in bfloat16 would be rounded to steps of 0.08 in the logit.
    return torch.autocast(tensor.device.type, enabled=False)


class CorpusKLDivLoss(nn.Module):
    """KL(teacher over a question's candidates ‖ student over all passages), the passages' vectors being fixed.

    `vectors` (P, D) are unit vectors of the corpus or of a sample of it, `log_shares` (P,) the logarithm of how many
    passages of the corpus each stands for. Batches hold one column, the question; the label is the list's number.
    """

    vectors: Tensor
    log_shares: Tensor

    def __init__(self, model: SentenceTransformer, targets: ListTargets, vectors: Vectors, log_shares: Vectors) -> None:
        super().__init__()
        self.model = model
        self.targets = targets
        self.register_buffer("vectors", torch.from_numpy(vectors))
        self.register_buffer("log_shares", torch.from_numpy(log_shares))

    def forward(self, sentence_features: Iterable[Features], labels: Tensor) -> Tensor:
        """The loss of the lists `labels` (B,), a scalar."""
        (features,) = sentence_features
        questions = self.model(features)["sentence_embedding"]
        with _in_full_precision(questions):
            cosines = normalize(questions.float(), dim=-1) @ self.vectors.T
            log_normaliser = torch.logsumexp(cosines / self.targets.student_temperature + self.log_shares, dim=1)
            own = cosines.gather(1, self.targets.rows[labels].clamp(min=0))
            return self.targets.loss(labels, own, log_normaliser)


class ListKLDivLoss(nn.Module):
    """KL(teacher ‖ student) over a question's own passages, and with `in_batch_negatives` over those of all lists of
    the step (the teacher gives the others probability 0; a text that is a candidate of the question is none of them).

    Batches hold two columns: B questions, and the P distinct passages of their lists with their numbers in "rows";
    the label is the list's number. Passages are embedded `passages_at_once` at a time.
    """

    def __init__(
        self, model: SentenceTransformer, targets: ListTargets, *, in_batch_negatives: bool, passages_at_once: int
    ) -> None:
        super().__init__()
        self.model = model
        self.targets = targets
        self.in_batch_negatives = in_batch_negatives
        self._at_once = passages_at_once

    def forward(self, sentence_features: Iterable[Features], labels: Tensor) -> Tensor:
        """The loss of the lists `labels` (B,), a scalar."""
        questions, passages = (dict(features) for features in sentence_features)
        rows = passages.pop("rows")
        vectors = [torch.cat([self.model(part)["sentence_embedding"] for part in self._parts(passages, len(rows))])]
        vectors.insert(0, self.model(questions)["sentence_embedding"])
        with _in_full_precision(vectors[0]):
            asked, found = (normalize(part.float(), dim=-1) for part in vectors)
            if self.in_batch_negatives and torch.distributed.is_initialized():
                found, rows = _gathered(found, rows)
            return self._loss(labels, rows, asked @ found.T)

    def _parts(self, features: Features, size: int) -> list[Features]:
        """`features` of `size` texts some at a time; a bag of embeddings has no batch dimension and stays whole."""
        if "offsets" in features:
            return [features]
        return [
            {
                key: value[first : first + self._at_once] if isinstance(value, Tensor) and value.ndim else value
                for key, value in features.items()
            }
            for first in range(0, size, self._at_once)
        ]

    def _loss(self, lists: Tensor, rows: Tensor, cosines: Tensor) -> Tensor:
        """The loss of `cosines` (B, P) with the passages whose numbers are `rows` (P,)."""
        wanted = self.targets.rows[lists]
        is_own = wanted[:, :, None] == rows[None, None, :]  # (B, N, P)
        own = cosines.gather(1, is_own.int().argmax(dim=2))
        logits = (own / self.targets.student_temperature).masked_fill(wanted == NO_PASSAGE, -torch.inf)
        if self.in_batch_negatives:
            seen_before = (rows[:, None] == rows[None, :]).tril(-1).any(dim=1) | (rows == NO_PASSAGE)
            is_apart = (self.targets.apart[lists][:, :, None] == rows[None, None, :]).any(dim=1)
            is_no_other = is_own.any(dim=1) | is_apart | seen_before
            others = (cosines / self.targets.student_temperature).masked_fill(is_no_other, -torch.inf)
            logits = torch.cat([logits, others], dim=1)
        return self.targets.loss(lists, own, torch.logsumexp(logits, dim=1))


def _gathered(passages: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The passages (P, D) and their numbers (P,) of all processes, which may have different P."""
    most = torch.tensor(len(rows), device=rows.device)
    torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
    missing = int(most) - len(rows)
    passages, rows = pad(passages, (0, 0, 0, missing)), pad(rows, (0, missing), value=NO_PASSAGE)
    return all_gather_with_grad(passages), all_gather(rows)
