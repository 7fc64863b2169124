"""An `Encoder` over a SentenceTransformer, computed by torch, and the number formats in which any encoder computes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from indexes.errors import NotFoundError
from indexes.types import Encoder, Tokenizer, Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch.nn import Module


Precision = Literal["fp32", "bf16", "int8"]
Wish = Literal["auto", "fp32", "bf16", "int8"]
_MARK = "+"  # in no fingerprint's own digits


def mark(fingerprint: str, precision: Precision) -> str:
    """The fingerprint of the encoder with this one when it computes in `precision`."""
    return fingerprint if precision == "fp32" else f"{fingerprint}{_MARK}{precision}"


def unmarked(fingerprint: str) -> str:
    """The fingerprint without its precision: what encoders have in common that differ in the number format only."""
    return fingerprint.partition(_MARK)[0]


def comparable(one: str, other: str) -> bool:
    """Whether vectors with these fingerprints are of one encoder, so that a question may meet passages in another
    format."""
    return unmarked(one) == unmarked(other)


def precision_of(fingerprint: str) -> Precision:
    """The number format in which the vectors with this fingerprint were computed."""
    ending = fingerprint.partition(_MARK)[2]
    return next((each for each in get_args(Precision) if each == ending), "fp32")


class Adjustable:
    """What encoders have in common that can compute in more than one format; `origin` is their fingerprint in fp32."""

    origin: str
    precision: Precision
    _refit: Callable[[Precision], Encoder] | None

    @property
    def fingerprint(self) -> str:
        """What the passages' vectors are known by: two encoders that embed passages alike have the same."""
        return mark(self.origin, self.precision)

    def refitted(self, precision: Precision) -> Encoder | None:
        """This encoder, computing in `precision`; None if it does, or was asked to compute in another one."""
        return self._refit(precision) if self._refit and precision != self.precision else None


def as_indexed(encoder: Encoder, fingerprints: Iterable[str]) -> Encoder:
    """`encoder` in the format of the first of these indexes that it made, unless it was asked to compute in another."""
    for fingerprint in fingerprints:
        if isinstance(encoder, Adjustable) and unmarked(fingerprint) == encoder.origin:
            return encoder.refitted(precision_of(fingerprint)) or encoder
    return encoder


def uses_bf16(device: str) -> bool:
    """Whether bfloat16 pays on `device`: on GPUs that have it, and on processors with instructions for it."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


_BATCH_SIZE = 32
_LARGEST_BATCH = 4096


class SentenceTransformerEncoder(Adjustable):
    """An `Encoder` over a SentenceTransformer; prompts come from the model's own config.

    In bf16 the model's weights are changed in place.
    """

    def __init__(
        self,
        name: str,
        model: SentenceTransformer,
        precision: Literal["fp32", "bf16"] = "fp32",
        refit: Callable[[Precision], Encoder] | None = None,
    ) -> None:
        self.name = name
        self.model = model  # for training
        self.precision: Precision = precision
        self._refit = refit
        # How many texts at once: on a GPU as many as its memory takes, found out by the first ones.
        self.batch_size = _LARGEST_BATCH if model.device.type == "cuda" else _BATCH_SIZE
        self.origin = fingerprint_of(model, "document")
        self._query_fingerprint = ""
        if precision == "bf16":
            self._query_fingerprint = fingerprint_of(model, "query")  # of the weights as they came
            model.bfloat16()
        self.tokenizer: Tokenizer = FastTokenizer(model.tokenizer)
        dimension = model.get_embedding_dimension()
        if dimension is None:
            raise NotFoundError(f"Encoder '{name}' does not tell the dimension of its vectors; another one is needed.")
        self.dimension = int(dimension)
        limit = model.max_seq_length
        # Static embeddings have no limit; 512 keeps their passages as long as anyone wants to read.
        self.max_tokens = int(limit) if limit and math.isfinite(limit) else 512

    @property
    def query_fingerprint(self) -> str:
        """What the questions' vectors are known by; another one than `fingerprint` where questions have their own."""
        # Not at loading: it reads all weights, and few ask for it.
        return mark(self._query_fingerprint or fingerprint_of(self.model, "query"), self.precision)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(self.model.encode_query, texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._encode(self.model.encode_document, texts)

    def _encode(self, encode: Callable[..., Any], texts: Sequence[str]) -> Vectors:
        def attempt(batch_size: int) -> Any:
            options: dict[str, Any] = {"normalize_embeddings": True, "show_progress_bar": False}
            return encode(list(texts), batch_size=batch_size, convert_to_tensor=True, **options)

        vectors, self.batch_size = fitting_batches(attempt, self.batch_size)
        unit = vectors.float().cpu().numpy() if len(texts) else np.zeros((0, self.dimension))
        if self.precision == "bf16":  # whose rounding leaves lengths of 0.997 to 1.003
            unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        return np.asarray(unit, dtype=np.float32).reshape(-1, self.dimension)


def fitting_batches(attempt: Callable[[int], Any], batch_size: int) -> tuple[Any, int]:
    """What `attempt` gives with the largest of `batch_size`, a half of it, a quarter … that fits into memory, and that
    size."""
    import torch

    while True:
        try:
            return attempt(batch_size), batch_size
        except torch.cuda.OutOfMemoryError:
            if batch_size == 1:
                raise
            torch.cuda.empty_cache()
            batch_size //= 2


class FastTokenizer:
    """Token spans by the encoder's own tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        # A copy, because truncation and padding are switched off on it; and the call on the Rust object,
        # because the Python wrapper warns about every text that is longer than the model's limit.
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self._backend = type(backend).from_str(backend.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Character span (start, end) of each token of `text`, without special tokens."""
        offsets: list[tuple[int, int]] = self._backend.encode(text, add_special_tokens=False).offsets
        return offsets


def fingerprint_of(model: SentenceTransformer, side: str) -> str:
    """16 hex digits that change whenever the vectors of `side` ("query" or "document") would: weights, modules,
    prompts, length.

    A side of an encoder with two of them has the fingerprint of an encoder that is this side alone.
    """
    from torch import nn

    modules = nn.Sequential(*modules_of(model, side))
    settings = {
        "modules": [type(module).__name__ for module in modules],
        "pooling": [getattr(module, "pooling_mode", None) for module in modules],
        "prompts": model.prompts,
        "max_seq_length": getattr(modules[0], "max_seq_length", None),
    }
    return digest_of(modules, json.dumps(settings, sort_keys=True, default=str))


def digest_of(module: Module, about: str = "") -> str:
    """16 hex digits of the weights of `module`, and of what is said `about` it."""
    digest = hashlib.blake2b(about.encode(), digest_size=8)
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().data)
    return digest.hexdigest()


def modules_of(model: SentenceTransformer, side: str) -> list[Module]:
    """The modules that a question ("query") or a passage ("document") goes through."""
    from sentence_transformers.base.modules import Router

    first, *rest = model.children()
    if not isinstance(first, Router):
        return [first, *rest]
    route = side if side in first.sub_modules else first.default_route or next(iter(first.sub_modules))
    return [*first.sub_modules[route].children(), *rest]
