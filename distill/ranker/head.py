"""The head of a ranker: how much its model's score, the dense and the lexical score of a passage count."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distill.records import CandidateList
from indexes.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor


Features = NDArray[np.float64]  # (N, 3): model, dense, lexical
ModelScores = Callable[
    [Sequence[CandidateList]], Iterable[Sequence[float]]
]  # for each record one score for each candidate
OnScored = Callable[[int, int], None]  # (questions done, questions in all)

_QUESTIONS_AT_ONCE = 4  # bounds the memory that token vectors take, and how long nothing is heard of the scoring


def signals_of(
    records: Sequence[CandidateList], model_scores: ModelScores, on_scored: OnScored | None = None
) -> list[Features]:
    """For each record the signals of its N candidates, (N, 3); the model scores some questions at a time."""
    found: list[Features] = []
    for first in range(0, len(records), _QUESTIONS_AT_ONCE):
        batch = records[first : first + _QUESTIONS_AT_ONCE]
        found += [signals(record, scores) for record, scores in zip(batch, model_scores(batch), strict=True)]
        if on_scored:
            on_scored(len(found), len(records))
    return found


def signals(record: CandidateList, model_scores: Sequence[float]) -> Features:
    """The three signals of each of the record's N candidates, (N, 3); lexical ones as shares of the best, as BM25 has
    no scale.
    """
    candidates = record.candidates
    best = max((candidate.lexical for candidate in candidates), default=0.0)
    lexical = [candidate.lexical / best if best > 0 else 0.0 for candidate in candidates]
    return np.column_stack([model_scores, [each.dense for each in candidates], lexical]).astype(np.float64)


_HEAD_FILE = "head.json"
_PULL = 30.0  # lists that the start weighs as much as
_SCALE_PULL = 1.0  # the same for the fit's own scale, which orders without any error would make endless


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """logit = Σ weight · signal; `model` is what the ranker's own model makes of question and passage.

    The defaults, for late interaction, are our choice. On 172 training questions of ObliQA with a relevant passage
    among the fused top 10 they reach MRR 0.867 (late interaction alone 0.856, BM25 0.796, cosine 0.721), near what a
    fit on the known positives of half of them reaches (0.876). The fit on the teacher's orders starts from them and is
    held near them.
    """

    model: float = 25.0
    dense: float = 5.0
    lexical: float = 3.0

    def weights(self) -> list[float]:
        """The weights in the order of the signals."""
        return [self.model, self.dense, self.lexical]

    def save(self, folder: Path, kind: str) -> None:
        """Writes the head, and what kind of ranker it belongs to, beside the model in `folder`."""
        text = json.dumps({"kind": kind} | asdict(self))
        (folder / _HEAD_FILE).write_text(text, encoding="utf-8")


def read_head(folder: Path) -> tuple[str, Head]:
    """The kind of ranker that was saved in `folder`, and its head; `WeightsError` if they cannot be read."""
    try:
        fields = json.loads((folder / _HEAD_FILE).read_text(encoding="utf-8"))
        return str(fields.pop("kind")), Head(**fields)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(folder) from error


def damaged(folder: Path) -> WeightsError:
    """What to say of a folder that holds no whole ranker."""
    return WeightsError(f"The ranker in {folder} is incomplete or damaged; delete the folder and run again.")


def weigh(features: Sequence[Features], head: Head) -> list[list[float]]:
    """The logits of each list."""
    weights = np.array(head.weights())
    return [(each @ weights).tolist() for each in features]


def fit_head(
    features: Sequence[Features],
    targets: Sequence[Sequence[int]],
    start: Head,
    list_weights: Sequence[float] | None = None,
) -> Head:
    """The head that makes the teacher's first choices likeliest, held near `start`, no weight below 0.

    `features[i]` is (N_i, 3), `targets[i]` has N_i ranks as the losses take them. Only a list's first place counts (the
    likelihood of a top-1 list under Plackett-Luce): what a teacher puts last follows the order that it was given more
    than the question, and a fit on whole orders learns that. A teacher's errors make all weights smaller alike, which
    says nothing of the passages, so the fit has a scale of its own that is let go. The pull towards `start` weighs as
    much as thirty lists, so a handful of lists cannot overturn it.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from distill.candidates import PADDING, UNRANKED
    from distill.ranker.losses import list_mle

    if not features:
        return start
    x = pad_sequence([torch.from_numpy(each).float() for each in features], batch_first=True)  # (B, N, 3)
    y = pad_sequence([torch.tensor(list(each)) for each in targets], batch_first=True, padding_value=PADDING)
    first = torch.where(y > 0, UNRANKED, y)
    weights = torch.tensor(list_weights) if list_weights is not None else None
    origin = torch.tensor(start.weights(), dtype=torch.float64)
    scale = origin.clamp(min=1.0)
    ratio = (origin / scale).clone().requires_grad_(True)
    log_scale = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([ratio, log_scale], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        pull = (_PULL * ((ratio - origin / scale) ** 2).sum() + _SCALE_PULL * (log_scale**2).sum()) / len(features)
        scores = log_scale.exp() * (x.double() @ (ratio.clamp(min=0.0) * scale))
        loss = list_mle(scores, first, weights).double() + pull
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    model, dense, lexical = (ratio.detach().clamp(min=0.0) * scale).tolist()
    return Head(model=model, dense=dense, lexical=lexical)
