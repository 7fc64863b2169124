"""An encoder that embeds each question once: a verdict asks the same questions of several searches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexes.types import Encoder, Tokenizer, Vectors


class RememberingEncoder:
    """An `Encoder` as another one, which remembers the vectors of questions; `questions` embeds those if it is given,
    in the same space.
    """

    def __init__(self, encoder: Encoder, questions: Encoder | None = None) -> None:
        self._encoder = encoder
        self._questions = questions or encoder
        self._known: dict[str, Vectors] = {}

    @property
    def name(self) -> str:
        return self._encoder.name

    @property
    def fingerprint(self) -> str:
        return self._encoder.fingerprint

    @property
    def dimension(self) -> int:
        return self._encoder.dimension

    @property
    def max_tokens(self) -> int:
        return self._encoder.max_tokens

    @property
    def tokenizer(self) -> Tokenizer:
        return self._encoder.tokenizer

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of questions, shape (B, D)."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            self._known.update(zip(new, self._questions.encode_queries(new), strict=True))
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([self._known[text] for text in texts])

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of passages, shape (N, D)."""
        return self._encoder.encode_passages(texts)
