"""An `Encoder` over converted graphs: it opens in a second, and needs neither torch nor the original weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from indexes.conversion import GraphPrecision
from indexes.encoder_cards import EncoderCard, Side
from indexes.graphs import Graph
from indexes.precision import Precision, mark
from indexes.torch_encoder import FastTokenizer
from indexes.types import Encoder, Tokenizer, Vectors


class OnnxEncoder:
    """The graphs of the passages' and of the questions' side, which are the same one for most encoders."""

    def __init__(
        self,
        name: str,
        card: EncoderCard,
        precision: GraphPrecision,
        graphs: dict[Side, Graph],
        refit: Callable[[Precision], Encoder] | None = None,
    ) -> None:
        self.name = name
        self.origin = card.fingerprint  # of its vectors in fp32
        self.dimension = card.dimension
        self.max_tokens = card.max_tokens
        self.tokenizer: Tokenizer = FastTokenizer(graphs["document"].tokenizer)
        self.precision = precision
        self._card = card
        self._graphs = graphs
        self._refit = refit

    @property
    def fingerprint(self) -> str:
        """What the passages' vectors are known by, with the precision in which they are computed."""
        return mark(self.origin, self.precision)

    @property
    def query_fingerprint(self) -> str:
        """What the questions' vectors are known by."""
        return mark(self._card.query_fingerprint, self.precision)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of questions, shape (B, D)."""
        return self._encode("query", texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of passages, shape (N, D)."""
        return self._encode("document", texts)

    def _encode(self, side: Side, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return self._graphs[side].encode(texts, self._card.prompts[side])

    def fitting(self, precision: Precision) -> Encoder:
        """This encoder in `precision`, or as it is if it was asked to compute as it does."""
        return self if self._refit is None or precision == self.precision else self._refit(precision)
