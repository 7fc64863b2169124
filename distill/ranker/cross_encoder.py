"""The other kind of ranker: a model that reads question and passage together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from distill.jsonl import Record
from distill.precision import uses_bf16
from distill.ranker.head import Head, weigh
from distill.ranker.signals import Features, OnScored, signals_of
from indexes.encoder_files import find_encoder
from indexes.errors import NotFoundError
from indexes.paths import DataPaths

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# A guess: logits of the cross-encoders trained on MS MARCO span about 20, cosines 1, shares of the best BM25 score 1.
CROSS_ENCODER_HEAD = Head(model=1.0, dense=5.0, lexical=3.0)
_BATCH_SIZE = 32


class CrossEncoderRanker:
    """A CrossEncoder's logit, with learned weights for the dense and lexical scores beside it."""

    kind: ClassVar[str] = "cross-encoder"

    def __init__(self, model: CrossEncoder, head: Head = CROSS_ENCODER_HEAD) -> None:
        self.model = model
        self.head = head
        _keep_logits_exact(model)

    @classmethod
    def begin(
        cls, name: str, paths: DataPaths, *, seed: int, device: str | None = None, local_files_only: bool = False
    ) -> CrossEncoderRanker:
        """A ranker begun from the model called `name`: under DATA_DIR/encoders, packaged, a folder, or on a model hub.

        An encoder's folder will do as well; it gets a new head (see `has_new_head`), whose weights `seed` decides.
        Raises `NotFoundError` if there is none of that name or it cannot be loaded.
        """
        import torch
        from sentence_transformers import CrossEncoder

        folder = find_encoder(name, paths)
        try:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = CrossEncoder(
                    str(folder or name),
                    num_labels=1,
                    device=device,
                    local_files_only=local_files_only or folder is not None,
                )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise NotFoundError(
                f"The cross-encoder '{name}' cannot be loaded: it is not under DATA_DIR/encoders, no folder of a "
                "sequence classification model, and the model hub does not have it or cannot be reached. Give another "
                "one, or take the late-interaction ranker, which begins from the base encoder."
            ) from error
        model.model_card_data.generate_widget_examples = False  # they would be computed, and never shown
        return cls(model)

    @classmethod
    def open(cls, folder: Path, head: Head, *, device: str | None = None) -> CrossEncoderRanker:
        """The ranker whose model is in `folder`."""
        from sentence_transformers import CrossEncoder

        return cls(CrossEncoder(str(folder), device=device), head)

    @property
    def has_new_head(self) -> bool:
        """Whether the model's last layer has yet to learn anything: hundreds of lists do not teach it."""
        architectures = getattr(self.model.config, "architectures", None) or []
        return not any("SequenceClassification" in name or "CausalLM" in name for name in architectures)

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
        """For each record the signals of its N candidates: logit, dense, lexical; shape (N, 3)."""
        return signals_of(records, lambda batch: self._logits(batch, texts), on_scored)

    def _logits(self, records: Sequence[Record], texts: Mapping[str, str]) -> list[list[float]]:
        import torch

        pairs = [(r["question"], texts[c["passage"]]) for r in records for c in r["candidates"]]
        if not pairs:
            return [[] for _ in records]
        device = self.model.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=uses_bf16(device)):
            scores = self.model.predict(
                pairs, batch_size=_BATCH_SIZE, activation_fn=torch.nn.Identity(), show_progress_bar=False
            )
        each = iter(scores)
        return [[float(next(each)) for _ in record["candidates"]] for record in records]


def _keep_logits_exact(model: CrossEncoder) -> None:
    """Computes the last layer in 32 bits: in bfloat16 near logits would be equal."""
    from torch import nn

    last = [name for name, module in model.named_modules() if type(module) is nn.Linear and module.out_features == 1]
    if last:
        model.set_keep_in_fp32_modules(last)
