"""A name → an `Encoder`, in the number format that was asked for or that pays here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from indexes.encoders.endpoint import PREFIX, load_endpoint_encoder
from indexes.encoders.finding import SIDES, EncoderCard, Side, find_encoder, load_model, read_card
from indexes.encoders.onnx import Graph, GraphPrecision, GraphReport, OnnxEncoder, ensure_graph
from indexes.encoders.torch import SentenceTransformerEncoder, Wish, uses_bf16
from indexes.paths import DataPaths
from indexes.types import Encoder

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
