"""Stage 1's ranker: questions with candidates → scores, by late interaction or by a cross-encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from distill.ranker.head import Features, Head, OnScored, damaged, read_head, signals_of, weigh
from distill.records import CandidateList
from indexes.encoders.finding import find_encoder, open_model
from indexes.encoders.torch import digest_of, uses_bf16
from indexes.paths import DataPaths

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer
    from torch import Tensor, nn


_MOST_BYTES = 1_200_000_000


class TokenVectors:
    """Token vectors by passage id, of one model at a time: those of other weights are forgotten."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most_bytes
        self._n_bytes = 0
        self._model = ""
        self._kept: dict[str, Tensor] = {}

    def of(self, model: nn.Module) -> Mapping[str, Tensor]:
        """What is kept for `model` as its weights are now."""
        digest = digest_of(model)
        if digest != self._model:
            self._model, self._kept, self._n_bytes = digest, {}, 0
        return self._kept

    def keep(self, vectors: Mapping[str, Tensor]) -> None:
        """Takes more of the model that `of` was asked about last, while there is room."""
        n_bytes = sum(each.nbytes for each in vectors.values())
        if self._n_bytes + n_bytes <= self._most:
            self._kept.update(vectors)
            self._n_bytes += n_bytes


_BATCH_SIZE = 32


class Ranker(Protocol):
    """Questions with candidates → scores, by a model and a head; `load_ranker` opens a saved one of either kind."""

    kind: ClassVar[str]
    model: Any  # a sentence-transformers model
    head: Head

    def features(
        self, records: Sequence[CandidateList], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[Features]:
        """For each record the signals of its N candidates: model, dense, lexical; shape (N, 3)."""
        ...

    def score(
        self, records: Sequence[CandidateList], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[list[float]]:
        """For each record of candidates a score for each candidate, higher is better, as logits."""
        return weigh(self.features(records, texts, on_scored), self.head)

    def save(self, folder: Path) -> None:
        """Writes the ranker to `folder`."""
        self.model.save_pretrained(str(folder), create_model_card=False)
        self.head.save(folder, self.kind)


def load_ranker(folder: Path, *, token_vectors: TokenVectors | None = None) -> Ranker:
    """The ranker that was saved in `folder`, of whatever kind; `WeightsError` if it is incomplete or damaged.

    Rankers that share `token_vectors` embed a passage once, as long as their models are the same.
    """
    from sentence_transformers import CrossEncoder, MultiVectorEncoder

    try:
        kind, head = read_head(folder)
        if kind == LateInteractionRanker.kind:
            return LateInteractionRanker(MultiVectorEncoder(str(folder)), head, token_vectors)
        if kind == CrossEncoderRanker.kind:
            return CrossEncoderRanker(CrossEncoder(str(folder)), head)
    except Exception as error:  # each of the libraries has its own for damage, and for what is no weights but code
        raise damaged(folder) from error
    raise damaged(folder)


class LateInteractionRanker(Ranker):
    """MaxSim over a MultiVectorEncoder's token vectors, with learned weights for the dense and lexical scores."""

    kind: ClassVar[str] = "late-interaction"

    def __init__(self, model: MultiVectorEncoder, head: Head, token_vectors: TokenVectors | None = None) -> None:
        self.model = model
        self.head = head
        self._token_vectors = token_vectors or TokenVectors()

    @classmethod
    def from_encoder(
        cls, encoder: SentenceTransformer, token_vectors: TokenVectors | None = None
    ) -> LateInteractionRanker:
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
        return cls(model, Head(), token_vectors)

    def features(
        self, records: Sequence[CandidateList], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[Features]:
        """For each record the signals of its N candidates: mean MaxSim, dense, lexical; shape (N, 3)."""
        kept = self._token_vectors.of(self.model)
        return signals_of(records, lambda batch: self._late_interaction(batch, texts, kept), on_scored)

    def _late_interaction(
        self, records: Sequence[CandidateList], texts: Mapping[str, str], kept: Mapping[str, Tensor]
    ) -> Iterator[list[float]]:
        """Mean MaxSim of each record's candidates. `kept` has token vectors from before: questions find many passages
        in common.
        """
        import torch
        from sentence_transformers.util import maxsim_pairwise

        ids = sorted({c.passage for record in records for c in record.candidates} - kept.keys())
        options: dict[str, Any] = {"batch_size": _BATCH_SIZE, "show_progress_bar": False}
        device = self.model.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=uses_bf16(device)):
            queries = self.model.encode_query([record.question for record in records], **options)
            encoded = self.model.encode_document([texts[i] for i in ids], **options) if ids else []
        new = {i: vector.half() for i, vector in zip(ids, encoded, strict=True)}
        self._token_vectors.keep(new)
        for record, query in zip(records, queries, strict=True):
            found = [candidate.passage for candidate in record.candidates]
            passages = [(new[i] if i in new else kept[i]).float() for i in found]
            repeated = [query.float()] * len(passages)
            yield maxsim_pairwise(repeated, passages, length_normalize=True).tolist() if passages else []


# A guess: logits of the cross-encoders trained on MS MARCO span about 20, cosines 1, shares of the best BM25 score 1.
CROSS_ENCODER_HEAD = Head(model=1.0, dense=5.0, lexical=3.0)


class CrossEncoderRanker(Ranker):
    """A CrossEncoder's logit, with learned weights for the dense and lexical scores beside it."""

    kind: ClassVar[str] = "cross-encoder"

    def __init__(self, model: CrossEncoder, head: Head = CROSS_ENCODER_HEAD) -> None:
        self.model = model
        self.head = head
        _keep_logits_exact(model)

    @classmethod
    def begin(cls, name: str, paths: DataPaths, *, seed: int, device: str | None = None) -> CrossEncoderRanker:
        """A ranker begun from the model called `name`: under DATA_DIR/encoders, packaged, a folder, or on a model hub.

        An encoder's folder will do as well; it gets a new head (see `has_new_head`), whose weights `seed` decides.
        Raises `NotFoundError` if there is none of that name, `WeightsError` if its folder is damaged.
        """
        import torch
        from sentence_transformers import CrossEncoder

        remedy = "Give another one, or leave ranker_base out: late interaction begins from the base encoder."
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            load = partial(CrossEncoder, num_labels=1, device=device)
            model = open_model(name, find_encoder(name, paths), load, "cross-encoder", remedy)
        model.model_card_data.generate_widget_examples = False  # they would be computed, and never shown
        return cls(model)

    @property
    def has_new_head(self) -> bool:
        """Whether the model's last layer has yet to learn anything: hundreds of lists do not teach it."""
        architectures = getattr(self.model.config, "architectures", None) or []
        return not any("SequenceClassification" in name or "CausalLM" in name for name in architectures)

    def features(
        self, records: Sequence[CandidateList], texts: Mapping[str, str], on_scored: OnScored | None = None
    ) -> list[Features]:
        """For each record the signals of its N candidates: logit, dense, lexical; shape (N, 3)."""
        return signals_of(records, lambda batch: self._logits(batch, texts), on_scored)

    def _logits(self, records: Sequence[CandidateList], texts: Mapping[str, str]) -> list[list[float]]:
        import torch

        pairs = [(r.question, texts[c.passage]) for r in records for c in r.candidates]
        if not pairs:
            return [[] for _ in records]
        device = self.model.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=uses_bf16(device)):
            scores = self.model.predict(
                pairs, batch_size=_BATCH_SIZE, activation_fn=torch.nn.Identity(), show_progress_bar=False
            )
        each = iter(scores)
        return [[float(next(each)) for _ in record.candidates] for record in records]


def _keep_logits_exact(model: CrossEncoder) -> None:
    """Computes the last layer in 32 bits: in bfloat16 near logits would be equal."""
    from torch import nn

    last = [name for name, module in model.named_modules() if type(module) is nn.Linear and module.out_features == 1]
    if last:
        model.set_keep_in_fp32_modules(last)


_NEW_HEAD = (
    "'{}' is no cross-encoder that has learned to rank: its last layer begins by chance, and hundreds of orders do not "
    "teach it. Begin from one that was trained to score pairs, such as cross-encoder/ms-marco-MiniLM-L6-v2, or leave "
    "ranker_base out for late interaction."
)


def begin_ranker(
    name: str, base: SentenceTransformer, paths: DataPaths, *, seed: int, token_vectors: TokenVectors | None = None
) -> tuple[Ranker, tuple[str, ...]]:
    """The ranker to train, and sentences on it: the cross-encoder called `name`, "" for late interaction over the token
    vectors of `base`.

    Raises `NotFoundError` or `WeightsError` for a cross-encoder that cannot be loaded.
    """
    if not name:
        return LateInteractionRanker.from_encoder(base, token_vectors), ()
    ranker = CrossEncoderRanker.begin(name, paths, seed=seed, device=str(base.device))
    return ranker, (_NEW_HEAD.format(name),) if ranker.has_new_head else ()
