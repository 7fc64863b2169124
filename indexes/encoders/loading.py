"""A name → an `Encoder`, in the number format that was asked for or that pays here, at once or when it is needed; and
encoders around one: asked by one caller at a time, or each question embedded once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from indexes.encoders.endpoint import PREFIX, load_endpoint_encoder
from indexes.encoders.finding import SIDES, EncoderCard, Side, find_encoder, known_card, load_model, read_card
from indexes.encoders.onnx import Graph, GraphPrecision, GraphReport, OnnxEncoder, ensure_graph, known_report
from indexes.encoders.torch import Adjustable, Precision, SentenceTransformerEncoder, Wish, mark, uses_bf16
from indexes.paths import DataPaths
from indexes.types import Encoder, Tokenizer, Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


LoadEncoder = Callable[[str, DataPaths], Encoder]
_AT_ONCE = 4  # texts of one length in a batch; more are slower
_WORTH_IT = 1.2  # times the speed of fp32, for which int8 is taken unasked


def load_encoder(
    name: str, paths: DataPaths, precision: Wish = "auto", say: Callable[[str], None] = lambda _: None
) -> Encoder:
    """The encoder called `name`: under DATA_DIR/encoders, packaged, a folder, or on a model hub, in this order;
    `openai:MODEL` is the model behind an embedding endpoint.

    It computes in `precision`; in "auto", in the fastest format that is near enough to the original, which indexing
    gives up for the format that an index has already. `say` hears which one it is and why.
    Raises `NotFoundError` if there is none of that name, `WeightsError` if its folder is damaged.
    """
    if name.startswith(PREFIX):
        return load_endpoint_encoder(name, paths.embeddings)
    loaded = cache(lambda: load_trainable(name, paths))
    if precision == "bf16" or (precision != "int8" and _has_gpu() and loaded().model.device.type == "cuda"):
        return _by_torch(name, paths, precision, loaded(), say)
    try:
        card = read_card(paths, find_encoder(name, paths), loaded)
        if not card.unfit:
            return _by_graphs(name, paths, precision, card, loaded, say)
        reason = f"it cannot be converted, because {card.unfit}"
    except OSError as error:
        reason = f"its conversion cannot be kept under {paths.graphs} ({error.strerror})"
    say(f"Encoder '{name}' computes by torch in fp32: {reason}.")
    return loaded()


def load_trainable(name: str, paths: DataPaths) -> SentenceTransformerEncoder:
    """The encoder called `name` as torch has it, in fp32: what can be trained; it is found as in `load_encoder`."""
    return SentenceTransformerEncoder(name, load_model(name, paths))


def _by_torch(
    name: str, paths: DataPaths, precision: Wish, encoder: SentenceTransformerEncoder, say: Callable[[str], None]
) -> Encoder:
    device = encoder.model.device.type
    if precision == "fp32" or (precision == "auto" and not uses_bf16(device)):
        return encoder
    refit = partial(load_encoder, name, paths, say=say) if precision == "auto" else None
    say(f"Encoder '{name}' computes by torch in bf16 on '{device}'; --precision fp32 is exact.")
    return SentenceTransformerEncoder(name, encoder.model, "bf16", refit)


def _by_graphs(
    name: str,
    paths: DataPaths,
    wish: Wish,
    card: EncoderCard,
    loaded: Callable[[], SentenceTransformerEncoder],
    say: Callable[[str], None],
) -> Encoder:
    def reports(precision: GraphPrecision) -> dict[Side, GraphReport]:
        """On the graph of each side; most encoders have the same one for both."""
        return {side: ensure_graph(paths.graphs / card.graphs[side], precision, side, model) for side in SIDES}

    def model() -> SentenceTransformer:
        return loaded().model

    exact = reports("fp32")
    if refused := next((each.refused for each in exact.values() if each.refused), ""):
        say(f"Encoder '{name}' computes by torch in fp32: {refused}.")
        return loaded()
    quick = reports("int8") if wish in ("auto", "int8") else exact
    passages = quick["document"]  # they decide: a question can be compared in any format
    gain = exact["document"].cpu_s / passages.cpu_s if passages.cpu_s else 0.0
    precision: GraphPrecision = "int8" if not passages.refused and (wish == "int8" or gain >= _WORTH_IT) else "fp32"
    say(_choice(name, wish, precision, passages, gain))
    sides: dict[Side, GraphPrecision] = {side: "fp32" if quick[side].refused else precision for side in SIDES}
    folders = {side: paths.graphs / card.graphs[side] for side in SIDES}
    graphs = {side: _open_graph(folders[side], sides[side], side, model) for side in SIDES}
    refit = partial(load_encoder, name, paths, say=say) if wish == "auto" else None
    return OnnxEncoder(name, card, precision, graphs, refit)


def _open_graph(folder: Path, precision: GraphPrecision, side: Side, model: Callable[[], SentenceTransformer]) -> Graph:
    """The graph at work, made anew if its file is damaged."""
    at_once = 1 if precision == "int8" else _AT_ONCE
    try:
        return Graph(folder / precision, at_once)
    except Exception:  # noqa: BLE001  # the runtime has its own errors for each way in which a file can be damaged
        shutil.rmtree(folder / precision, ignore_errors=True)
        ensure_graph(folder, precision, side, model)
        return Graph(folder / precision, at_once)


def _choice(name: str, wish: Wish, precision: GraphPrecision, quick: GraphReport, gain: float) -> str:
    """In which format the encoder computes, and why."""
    if quick.refused:
        return f"Encoder '{name}' computes in fp32: int8 was refused, because {quick.refused}."
    near = f"{gain:.1f} times the speed of fp32 on this kind of processor, cosine to fp32 {quick.mean_cosine:.3f}"
    if wish == "fp32":
        return f"Encoder '{name}' computes in fp32."
    if precision == "int8":
        return f"Encoder '{name}' computes in int8 ({near}); --precision fp32 is exact."
    return f"Encoder '{name}' computes in fp32: int8 was measured and is not worth it here ({near})."


def _has_gpu() -> bool:
    """Whether torch may find a GPU here; told without torch, which takes seconds to import."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists()


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


class LateEncoder(Adjustable):
    """An encoder known by its `card`, which computes as `wish` says."""

    def __init__(
        self, name: str, paths: DataPaths, card: EncoderCard, wish: Wish, load: Callable[[Wish], Encoder]
    ) -> None:
        self.name = name
        self.origin = card.fingerprint
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
        return self._loaded().encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._loaded().encode_passages(texts)

    def refitted(self, precision: Precision) -> Encoder | None:
        """This encoder, computing in `precision`; None if it was asked to compute in a certain one."""
        return LateEncoder(self.name, self._paths, self._card, precision, self._load) if self._wish == "auto" else None

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
        self.name = encoder.name
        self.dimension = encoder.dimension
        self.max_tokens = encoder.max_tokens
        self.tokenizer = encoder.tokenizer

    @property
    def fingerprint(self) -> str:
        return self._encoder.fingerprint

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode_passages(texts)


class SerialEncoder(EncoderAround):
    """One that answers one caller at a time: a tokenizer borrowed by two threads fails."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self._lock = Lock()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            return self._encoder.encode_queries(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        with self._lock:
            return self._encoder.encode_passages(texts)


class RememberingEncoder(EncoderAround):
    """One that remembers the vectors of questions; `questions` embeds those if it is given, in the same space."""

    def __init__(self, encoder: Encoder, questions: Encoder | None = None) -> None:
        super().__init__(encoder)
        self._questions = questions or encoder
        self._known: dict[str, Vectors] = {}

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if new:
            self._known.update(zip(new, self._questions.encode_queries(new), strict=True))
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([self._known[text] for text in texts])
