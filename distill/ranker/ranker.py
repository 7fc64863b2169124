"""Stage 1's ranker: questions with candidates → scores. Two kinds behind one small interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from distill.jsonl import Record
from distill.precision import uses_bf16
from distill.ranker.head import Head, damaged, read_head, weigh
from distill.ranker.signals import Features, OnScored, signals_of
from distill.ranker.token_vectors import TokenVectors

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from torch import Tensor

_BATCH_SIZE = 32


class Ranker(Protocol):
    """Questions with candidates → scores, by a model and a head; `load_ranker` opens a saved one of either kind."""

    kind: ClassVar[str]
    model: Any  # a sentence-transformers model
    head: Head

    def features(
        self, records: Sequence[Record], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[Features]:
        """For each record the signals of its N candidates: model, dense, lexical; shape (N, 3)."""
        ...

    def score(
        self, records: Sequence[Record], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[list[float]]:
        """For each record of candidates a score for each candidate, higher is better, as logits."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the ranker to `folder`."""
        ...


def load_ranker(folder: Path, *, device: str | None = None, token_vectors: TokenVectors | None = None) -> Ranker:
    """The ranker that was saved in `folder`, of whatever kind; `WeightsError` if it is incomplete or damaged.

    Rankers that share `token_vectors` embed a passage once, as long as their models are the same.
    """
    from distill.ranker.cross_encoder import CrossEncoderRanker

    kind, head = read_head(folder)
    try:
        if kind == LateInteractionRanker.kind:
            return LateInteractionRanker.open(folder, head, device=device, token_vectors=token_vectors)
        if kind == CrossEncoderRanker.kind:
            return CrossEncoderRanker.open(folder, head, device=device)
    except (OSError, ValueError, TypeError) as error:
        raise damaged(folder) from error
    raise damaged(folder)


class LateInteractionRanker:
    """MaxSim over a MultiVectorEncoder's token vectors, with learned weights for the dense and lexical scores."""

    kind: ClassVar[str] = "late-interaction"

    def __init__(self, model: MultiVectorEncoder, head: Head, token_vectors: TokenVectors | None = None) -> None:
        self.model = model
        self.head = head
        self._token_vectors = token_vectors or TokenVectors()

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
    def open(
        cls, folder: Path, head: Head, *, device: str | None = None, token_vectors: TokenVectors | None = None
    ) -> LateInteractionRanker:
        """The ranker whose model is in `folder`."""
        from sentence_transformers import MultiVectorEncoder

        return cls(MultiVectorEncoder(str(folder), device=device), head, token_vectors)

    def save(self, folder: Path) -> None:
        """Writes the ranker to `folder`."""
        self.model.save_pretrained(str(folder), create_model_card=False)
        self.head.save(folder, self.kind)

    def score(
        self, records: Sequence[Record], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[list[float]]:
        """For each record of candidates a score for each candidate, higher is better, as logits."""
        return weigh(self.features(records, texts, on_scored), self.head)

    def features(
        self, records: Sequence[Record], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[Features]:
        """For each record the signals of its N candidates: mean MaxSim, dense, lexical; shape (N, 3)."""
        kept = self._token_vectors.of(self.model)
        return signals_of(records, lambda batch: self._late_interaction(batch, texts, kept), on_scored)

    def _late_interaction(
        self, records: Sequence[Record], texts: Mapping[str, str], kept: Mapping[str, Tensor]
    ) -> Iterator[list[float]]:
        """Mean MaxSim of each record's candidates. `kept` has token vectors from before: questions find many passages
        in common.
        """
        import torch
        from sentence_transformers.util import maxsim_pairwise

        ids = sorted({c["passage"] for record in records for c in record["candidates"]} - kept.keys())
        options: dict[str, Any] = {"batch_size": _BATCH_SIZE, "show_progress_bar": False}
        device = self.model.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=uses_bf16(device)):
            queries = self.model.encode_query([record["question"] for record in records], **options)
            encoded = self.model.encode_document([texts[i] for i in ids], **options) if ids else []
        new = {i: vector.half() for i, vector in zip(ids, encoded, strict=True)}
        self._token_vectors.keep(new)
        for record, query in zip(records, queries, strict=True):
            found = [candidate["passage"] for candidate in record["candidates"]]
            passages = [(new[i] if i in new else kept[i]).float() for i in found]
            repeated = [query.float()] * len(passages)
            yield maxsim_pairwise(repeated, passages, length_normalize=True).tolist() if passages else []
