"""Stage 1: a ranker that learns the teacher's order and then scores what the teacher never saw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from distill.jsonl import Record
from distill.precision import uses_bf16
from indexes.errors import WeightsError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from torch import Tensor

_HEAD_FILE = "head.json"
_BATCH_SIZE = 32
_QUESTIONS_AT_ONCE = 64  # bounds the memory that token vectors take


class Ranker(Protocol):
    """Questions with candidates → scores."""

    def score(self, records: Sequence[Record], texts: Mapping[str, str]) -> list[list[float]]:
        """For each record of candidates a score for each candidate, higher is better, as logits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How much late interaction, the dense and the lexical score count: logit = Σ weight · signal.

    The defaults are our choice. On 172 training questions of ObliQA with a relevant passage among the fused top 10 they
    reach MRR 0.867 (late interaction alone 0.856, BM25 0.796, cosine 0.721), near what a fit on the known positives of
    half of them reaches (0.876). The fit on the teacher's orders starts from them and is held near them.
    """

    late_interaction: float = 25.0
    dense: float = 5.0
    lexical: float = 3.0

    def weights(self) -> list[float]:
        """The weights in the order of the signals."""
        return [self.late_interaction, self.dense, self.lexical]


class LateInteractionRanker:
    """MaxSim over a MultiVectorEncoder's token vectors, with learned weights for the dense and lexical scores."""

    def __init__(self, model: MultiVectorEncoder, head: Head) -> None:
        self.model = model
        self.head = head

    @classmethod
    def from_encoder(cls, encoder: SentenceTransformer) -> LateInteractionRanker:
        """A ranker begun from the token vectors of `encoder`: it ranks well before it has learned anything.

        `MultiVectorEncoder(folder)` would add a projection with random weights; taking the transformer alone keeps
        the vectors as they are.
        """
        import copy

        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.base.modules import Normalize
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        transformer = copy.deepcopy(encoder[0])
        modules = [transformer, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
        model = MultiVectorEncoder(modules=modules, similarity_fn_name="meanmaxsim", device=str(encoder.device))
        model.model_card_data.generate_widget_examples = False  # they would be computed, and never shown
        return cls(model, Head())

    @classmethod
    def load(cls, folder: Path) -> LateInteractionRanker:
        """The ranker that was saved in `folder`."""
        from sentence_transformers import MultiVectorEncoder

        try:
            head = Head(**json.loads((folder / _HEAD_FILE).read_text(encoding="utf-8")))
            return cls(MultiVectorEncoder(str(folder)), head)
        except (OSError, ValueError, TypeError) as error:
            raise WeightsError(
                f"The ranker in {folder} is incomplete or damaged; delete the folder and run again."
            ) from error

    def save(self, folder: Path) -> None:
        """Writes the ranker to `folder`."""
        self.model.save_pretrained(str(folder), create_model_card=False)
        (folder / _HEAD_FILE).write_text(json.dumps(asdict(self.head)), encoding="utf-8")

    def score(self, records: Sequence[Record], texts: Mapping[str, str]) -> list[list[float]]:
        """For each record of candidates a score for each candidate, higher is better, as logits."""
        weights = np.array(self.head.weights())
        return [(features @ weights).tolist() for features in self.features(records, texts)]

    def features(self, records: Sequence[Record], texts: Mapping[str, str]) -> list[NDArray[np.float64]]:
        """For each record the signals of its N candidates: mean MaxSim, dense, lexical; shape (N, 3)."""
        found: list[NDArray[np.float64]] = []
        for first in range(0, len(records), _QUESTIONS_AT_ONCE):
            batch = records[first : first + _QUESTIONS_AT_ONCE]
            for record, late in zip(batch, self._late_interaction(batch, texts), strict=True):
                dense, lexical = scalar_signals(record)
                found.append(np.column_stack([late, dense, lexical]))
        return found

    def _late_interaction(self, records: Sequence[Record], texts: Mapping[str, str]) -> Iterator[list[float]]:
        import torch
        from sentence_transformers.util import maxsim_pairwise

        ids = sorted({c["passage"] for record in records for c in record["candidates"]})
        options: dict[str, Any] = {
            "batch_size": _BATCH_SIZE,
            "show_progress_bar": False,
        }
        with torch.autocast(self.model.device.type, dtype=torch.bfloat16, enabled=uses_bf16(self.model.device.type)):
            queries = self.model.encode_query([record["question"] for record in records], **options)
            vectors = dict(zip(ids, self.model.encode_document([texts[i] for i in ids], **options), strict=True))
        for record, query in zip(records, queries, strict=True):
            passages = [vectors[candidate["passage"]].float() for candidate in record["candidates"]]
            if not passages:
                yield []
                continue
            repeated = [query.float()] * len(passages)
            yield maxsim_pairwise(repeated, passages, length_normalize=True).tolist()


def scalar_signals(record: Record) -> tuple[list[float], list[float]]:
    """The dense and the lexical score of each candidate; lexical ones as shares of the best, as BM25 has no scale."""
    candidates = record["candidates"]
    best = max((candidate["lexical"] for candidate in candidates), default=0.0)
    lexical = [candidate["lexical"] / best if best > 0 else 0.0 for candidate in candidates]
    return [candidate["dense"] for candidate in candidates], lexical


def fit_head(features: Sequence[NDArray[np.float64]], targets: Sequence[Sequence[int]], start: Head) -> Head:
    """The head that makes the teacher's orders likeliest (ListMLE), held near `start`, no weight below 0.

    `features[i]` is (N_i, 3), `targets[i]` has N_i ranks as in `list_mle`. The problem is convex; the pull towards
    `start` weighs as much as ten lists, so a handful of lists cannot overturn it.
    """
    import torch

    from distill.listwise import list_mle

    x, y = pad_lists(features, targets)
    origin = torch.tensor(start.weights(), dtype=torch.float64)
    scale = origin.clamp(min=1.0)
    ratio = (origin / scale).clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([ratio], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        weights = ratio.clamp(min=0.0) * scale
        pull = ((ratio - origin / scale) ** 2).sum() * 10 / max(1, len(features))
        loss = list_mle(x.double() @ weights, y).double() + pull
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    late, dense, lexical = (ratio.detach().clamp(min=0.0) * scale).tolist()
    return Head(late_interaction=late, dense=dense, lexical=lexical)


def pad_lists(features: Sequence[NDArray[np.float64]], targets: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Lists of different lengths as tensors (B, N, 3) and (B, N), padded at the end."""
    import torch

    from distill.listwise import PADDING

    n = max(len(target) for target in targets)
    x = torch.zeros(len(features), n, 3, dtype=torch.float32)
    y = torch.full((len(features), n), PADDING, dtype=torch.long)
    for row, (feature, target) in enumerate(zip(features, targets, strict=True)):
        x[row, : len(target)] = torch.from_numpy(feature).float()
        y[row, : len(target)] = torch.tensor(list(target))
    return x, y


def rank_targets(record: Record, ranking: Record) -> list[int]:
    """The teacher's rank of each candidate of `record`, `UNRANKED` where it saw the passage and did not place it.

    Candidates that the teacher never saw are `PADDING`: nothing is known of them.
    """
    from distill.listwise import PADDING, UNRANKED

    place = {identifier: rank for rank, identifier in enumerate(ranking["ranking"])}
    shown = set(ranking["shown"])
    return [place.get(c["passage"], UNRANKED) if c["passage"] in shown else PADDING for c in record["candidates"]]
