"""Stand-ins that enter by the same door as the real thing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from indexes.types import Vectors


class WordTokenizer:
    """Every word is a token."""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


class KeywordEncoder:
    """An `Encoder` without a model: a bag of hashed words, so texts that share words are near each other."""

    def __init__(
        self, name: str = "keywords", *, fingerprint: str = "fake-1", dimension: int = 256, max_tokens: int = 64
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.dimension = dimension
        self.max_tokens = max_tokens
        self.tokenizer = WordTokenizer()
        self.n_encoded_passages = 0

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vector(text) for text in texts]) if texts else np.zeros((0, self.dimension), np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        self.n_encoded_passages += len(texts)
        return self.encode_queries(texts)

    def _vector(self, text: str) -> Vectors:
        vector = np.full(self.dimension, 1e-6, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            digest = hashlib.blake2b(word.encode(), digest_size=4).digest()
            vector[int.from_bytes(digest) % self.dimension] += 1
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def load_keywords(precision: str, fingerprint: str = "fake-1") -> KeywordEncoder:
    """What a worker of a cluster is handed: it imports this file and no model's library."""
    return KeywordEncoder(fingerprint=fingerprint)
