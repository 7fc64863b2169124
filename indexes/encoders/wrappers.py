"""Encoders around encoders: loaded when something is embedded, asked by one at a time, each question embedded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock

import numpy as np

from indexes.encoders.endpoint import PREFIX
from indexes.encoders.finding import EncoderCard, find_encoder, known_card
from indexes.encoders.loading import load_encoder
from indexes.encoders.onnx import known_report
from indexes.encoders.torch import Precision, Wish, mark
from indexes.paths import DataPaths
from indexes.types import Encoder, Tokenizer, Vectors


def load_late(
    name: str,
    paths: DataPaths,
    precision: Wish = "auto",
    say: Callable[[str], None] = lambda _: None,
    load: Callable[..., Encoder] = load_encoder,
) -> Encoder:
    """The encoder that `load` gives, which is called once something is to be cut or embedded.

    It is called at once for an encoder that nothing on disk describes: one used here for the first time, or one of a
    hub or an endpoint.
    """
    folder = None if name.startswith(PREFIX) else find_encoder(name, paths)
    card = known_card(paths, folder) if folder else None
    if card is None:
        return load(name, paths, precision, say)
    return LateEncoder(name, paths, card, precision, partial(load, name, paths, say=say))


class LateEncoder:
    """An encoder known by its `card`, which computes as `wish` says."""

    def __init__(
        self, name: str, paths: DataPaths, card: EncoderCard, wish: Wish, load: Callable[[Wish], Encoder]
    ) -> None:
        self.name = name
        self.origin = card.fingerprint  # of its vectors in fp32
        self.dimension = card.dimension
        self.max_tokens = card.max_tokens
        self._paths = paths
        self._card = card
        self._wish: Wish = wish
        self._load = load
        self._encoder: Encoder | None = None

    @property
    def fingerprint(self) -> str:
        """What its vectors are known by; loaded only if it is not known yet which format is used."""
        if self._encoder is None and (self._wish in ("fp32", "bf16") or self._has_int8()):
            return mark(self.origin, self._wish)  # type: ignore[arg-type]  # "auto" is neither
        return self._loaded().fingerprint

    @property
    def tokenizer(self) -> Tokenizer:
        return self

    @property
    def batch_size(self) -> int:
        """How many texts are computed at once, 0 where the encoder does not say."""
        return int(getattr(self._loaded(), "batch_size", 0))

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Character span (start, end) of each token of `text`; a tokenizer is handed on before it is needed."""
        return self._loaded().tokenizer.spans(text)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of questions, shape (B, D)."""
        return self._loaded().encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of passages, shape (N, D)."""
        return self._loaded().encode_passages(texts)

    def fitting(self, precision: Precision) -> Encoder:
        """This encoder in `precision`, or as it is if it was asked to compute in a certain one."""
        return LateEncoder(self.name, self._paths, self._card, precision, self._load) if self._wish == "auto" else self

    def _has_int8(self) -> bool:
        """Whether int8 is wanted and was found near enough to the original."""
        if self._wish != "int8" or self._card.unfit:
            return False
        report = known_report(self._paths.graphs / self._card.graphs["document"], "int8")
        return report is not None and not report.refused

    def _loaded(self) -> Encoder:
        if self._encoder is None:
            self._encoder = self._load(self._wish)
        return self._encoder


class EncoderAround:
    """An `Encoder` that is known by what another one is known by."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

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

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of passages, shape (N, D)."""
        return self._encoder.encode_passages(texts)


class SerialEncoder(EncoderAround):
    """One that answers one caller at a time: a tokenizer borrowed by two threads fails."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self._lock = Lock()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of questions, shape (B, D)."""
        with self._lock:
            return self._encoder.encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of passages, shape (N, D)."""
        with self._lock:
            return self._encoder.encode_passages(texts)


class RememberingEncoder(EncoderAround):
    """One that remembers the vectors of questions; `questions` embeds those if it is given, in the same space."""

    def __init__(self, encoder: Encoder, questions: Encoder | None = None) -> None:
        super().__init__(encoder)
        self._questions = questions or encoder
        self._known: dict[str, Vectors] = {}

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of questions, shape (B, D)."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            self._known.update(zip(new, self._questions.encode_queries(new), strict=True))
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([self._known[text] for text in texts])
