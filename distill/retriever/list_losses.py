"""Losses that bring a retriever's cosines to a teacher's scores of whole lists.

A batch names its lists by number; passages, targets and weights wait in the loss, so lists may differ in length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import (
    CachedLossMixin,
    _create_minibatch,
    _get_batch_size,
    has_static_embedding_input,
)
from sentence_transformers.util import all_gather, all_gather_with_grad
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize, pad

from distill.retriever.settings import Objective
from distill.retriever.training_lists import TrainingList
from indexes.types import Vectors

Features = dict[str, Any]
NO_PASSAGE = -1


class ListTargets(nn.Module):
    """The teacher's side of M lists of at most N passages, in tensors.

    rows (M, N): passage numbers, NO_PASSAGE where a list is shorter; logits (M, N): its scores / temperature, -inf
    where there is no passage; weights (M,): their mean over the first `n_train` lists is 1.
    """

    rows: Tensor
    logits: Tensor
    weights: Tensor

    def __init__(
        self,
        lists: Sequence[TrainingList],
        numbers: Mapping[str, int],
        *,
        n_train: int,
        student_temperature: float,
        teacher_temperature: float,
        objective: Objective = "kl",
    ) -> None:
        super().__init__()
        longest = max(len(each.passages) for each in lists)
        rows = torch.full((len(lists), longest), NO_PASSAGE)
        logits = torch.full((len(lists), longest), -torch.inf)
        for place, each in enumerate(lists):
            rows[place, : len(each.passages)] = torch.tensor([numbers[passage] for passage in each.passages])
            logits[place, : len(each.scores)] = torch.tensor(each.scores) / teacher_temperature
        weights = torch.tensor([each.weight for each in lists])
        self.register_buffer("rows", rows)
        self.register_buffer("logits", logits)
        self.register_buffer("weights", weights / weights[:n_train].mean())
        self.student_temperature = student_temperature
        self.objective = objective

    def loss(self, lists: Tensor, cosines: Tensor, log_normaliser: Tensor) -> Tensor:
        """The mean over the lists of their divergence from the teacher times their weights, a scalar.

        `lists` (B,) are list numbers, `cosines` (B, N) those of their passages, `log_normaliser` (B,) the logarithm of
        what the student's softmax is divided by. "kl": KL(teacher ‖ student). "margin-mse": squared difference between
        the margins of the first passage over each other one (arXiv 2010.02666), both sides over their temperatures.
        """
        targets, there = self.logits[lists], self.rows[lists] != NO_PASSAGE
        student = (cosines / self.student_temperature).masked_fill(~there, 0.0)
        if self.objective == "margin-mse":
            teacher = targets.masked_fill(~there, 0.0)
            errors = mse_loss(student[:, :1] - student, teacher[:, :1] - teacher, reduction="none")
            each = (errors * there)[:, 1:].sum(1) / (there.sum(1) - 1).clamp(min=1)
        else:
            log_teacher = torch.log_softmax(targets, dim=1).masked_fill(~there, 0.0)
            teacher = log_teacher.exp() * there
            each = (teacher * (log_teacher - (student - log_normaliser[:, None]))).sum(1)
        return (each * self.weights[lists]).mean()


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


class ListKLDivLoss(CachedLossMixin, nn.Module):
    """KL(teacher ‖ student) over a question's own passages, and with `in_batch_negatives` over those of all lists of
    the step (the teacher gives the others probability 0; a text that is a candidate of the question is none of them).

    Batches hold two columns: B questions, and the P distinct passages of their lists with their numbers in "rows";
    the label is the list's number. Passages are embedded `mini_batch_size` at a time; `cached` keeps the activations
    of only one such mini-batch (GradCache, arXiv 2101.06983) for a second forward pass.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        targets: ListTargets,
        *,
        in_batch_negatives: bool,
        mini_batch_size: int,
        cached: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.targets = targets
        self.in_batch_negatives = in_batch_negatives
        self.divisible = not has_static_embedding_input(model)  # a bag of embeddings has no batch dimension
        self.mini_batch_size = mini_batch_size
        self.cached = cached and self.divisible

    def forward(self, sentence_features: Iterable[Features], labels: Tensor) -> Tensor:
        """The loss of the lists `labels` (B,), a scalar."""
        questions, passages = (dict(features) for features in sentence_features)
        rows = passages.pop("rows")
        if self.cached:
            # The mixin hands its second argument on to `calculate_loss` untouched.
            return self.forward_cached([questions, passages], (labels, rows))  # type: ignore[arg-type]
        vectors = [[self.model(part)["sentence_embedding"] for part in self._parts(f)] for f in (questions, passages)]
        return self.calculate_loss(vectors, (labels, rows))

    def _parts(self, features: Features) -> list[Features]:
        if not self.divisible:
            return [features]
        size, step = _get_batch_size(features), self.mini_batch_size
        return [_create_minibatch(features, first, min(first + step, size)) for first in range(0, size, step)]

    def calculate_loss(self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False) -> Tensor:
        """The loss of vectors: reps[0] those of the B questions, reps[1] those of the P passages, in mini-batches."""
        lists, rows = labels
        with _in_full_precision(reps[0][0]):
            questions, passages = (normalize(torch.cat(part).float(), dim=-1) for part in reps)
            if self.in_batch_negatives and torch.distributed.is_initialized():
                passages, rows = _gathered(passages, rows)
            loss = self._loss(lists, rows, questions @ passages.T)
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
        return loss

    def _loss(self, lists: Tensor, rows: Tensor, cosines: Tensor) -> Tensor:
        """The loss of `cosines` (B, P) with the passages whose numbers are `rows` (P,)."""
        wanted = self.targets.rows[lists]
        is_own = wanted[:, :, None] == rows[None, None, :]  # (B, N, P)
        own = cosines.gather(1, is_own.int().argmax(dim=2))
        logits = (own / self.targets.student_temperature).masked_fill(wanted == NO_PASSAGE, -torch.inf)
        if self.in_batch_negatives:
            seen_before = (rows[:, None] == rows[None, :]).tril(-1).any(dim=1) | (rows == NO_PASSAGE)
            others = (cosines / self.targets.student_temperature).masked_fill(
                is_own.any(dim=1) | seen_before, -torch.inf
            )
            logits = torch.cat([logits, others], dim=1)
        return self.targets.loss(lists, own, torch.logsumexp(logits, dim=1))


def _gathered(passages: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The passages (P, D) and their numbers (P,) of all processes, which may have different P."""
    most = torch.tensor(len(rows), device=rows.device)
    torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
    missing = int(most) - len(rows)
    passages, rows = pad(passages, (0, 0, 0, missing)), pad(rows, (0, missing), value=NO_PASSAGE)
    return all_gather_with_grad(passages), all_gather(rows)
