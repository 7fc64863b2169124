"""What has to be known of an encoder before its weights are: importing torch takes seconds, and hashing them too."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from indexes.paths import DataPaths
from indexes.torch_encoder import SentenceTransformerEncoder, fingerprint_of, modules_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Another number leaves what was written before aside.
_CARD_FORMAT = 2
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
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(card)), encoding="utf-8")
    partial.replace(file)
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
    """What goes before each text of this side, as sentence-transformers chooses it."""
    names = ["query"] if side == "query" else ["document", "passage", "corpus"]
    name = next((name for name in names if name in model.prompts), model.default_prompt_name)
    return (model.prompts.get(name) or "") if name else ""


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
