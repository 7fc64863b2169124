"""A trained encoder becomes a folder that anyone can load: weights, a model card, and a copy on a hub when asked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from distill.retriever.exporting import usage
from distill.verdict.report import as_markdown
from indexes.errors import InputError, UserError
from indexes.paths import replacing, write_file

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_KNOWN_LICENSES = {"all-MiniLM-L6-v2": "apache-2.0"}  # the packaged base comes without the card of its original
_CARD = "README.md"
BY_ORDERS = (
    "A retriever taught by Intermediate Distillation (arXiv 2406.12169): orders of passages, an LLM's as a rule, train "
    "a ranker, and what orders and ranker say of many passages, by how often each is right, trains this encoder."
)
WITHOUT_ORDERS = "A retriever taught without an LLM: by the scores of a ranker that no order of passages has trained."


class PublishingError(UserError):
    """The hub did not take the encoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model card says. It names and counts; it never quotes a question or a passage, which are private.

    `lesson` says what it learned from. `settings` and `figures` are further rows of their tables, such as
    {"nDCG@10": "0.61 (base 0.56)"}.
    """

    name: str
    base: str
    corpus: str
    teacher: str
    questions: str
    license: str = ""
    keeps_passages: bool = False
    lesson: str = BY_ORDERS
    settings: Mapping[str, object] = field(default_factory=dict)
    figures: Mapping[str, object] = field(default_factory=dict)


def base_license(base: str, folder: Path | None) -> str:
    """The licence of the encoder `base` as its card in `folder` names it, "" where it is not known."""
    card = folder / _CARD if folder else None
    if card and card.is_file():
        text = card.read_text(encoding="utf-8", errors="replace")
        front = text.split("---", 2)[1] if text.startswith("---") and text.count("---") > 1 else ""
        if found := re.search(r"^license:[ \t]*[\"']?([\w.+-]+)", front, flags=re.MULTILINE):
            return found[1]
    return _KNOWN_LICENSES.get(base, "")


def save_encoder(model: SentenceTransformer, folder: Path, card: Card) -> None:
    """Writes `model` with its card to `folder`, which appears complete or not at all.

    Of several processes that trained together the first one writes, and the others wait for it.
    """
    from torch import distributed

    together = distributed.is_available() and distributed.is_initialized()
    if not together or distributed.get_rank() == 0:
        _write(model, folder, card)
    if together:
        distributed.barrier()


def _write(model: SentenceTransformer, folder: Path, card: Card) -> None:
    with replacing(folder) as partial:
        # A tokenizer is saved as it was last asked to cut and pad, which is another way where a training was cut off.
        model.encode_query(["."])
        model.encode_document(["."])
        # The library's own card would quote training questions and passages, which are the user's private texts.
        model.save_pretrained(str(partial), create_model_card=False)
        write_card(partial, card)


def write_card(folder: Path, card: Card) -> None:
    """Writes the model card of the encoder in `folder`, in place of the one there, such as when figures are known."""
    two_sided = (folder / "router_config.json").is_file()
    write_file(folder / _CARD, card_text(card, two_sided=two_sided))


def card_text(card: Card, *, two_sided: bool = False) -> str:
    """The model card: YAML for a hub, then Markdown; `two_sided` where questions have an encoder of their own."""
    facts = {
        "base": card.base,
        "corpus": card.corpus,
        "teacher": card.teacher,
        "questions": card.questions,
        "licence": card.license or "that of the base, which is not known here: look it up before you share this model",
    }
    parts = [
        _front_matter(card),
        f"# {as_markdown(card.name)}",
        card.lesson,
        _table(facts),
        "## Use",
        usage(two_sided=two_sided, keeps_passages=card.keeps_passages),
        *(["## Settings of the training", _table(card.settings)] if card.settings else []),
        *(["## Figures", _table(card.figures)] if card.figures else []),
        "## Limits",
        "It was fitted to one corpus and to the questions asked of it. Elsewhere it may be worse than its base.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(card: Card) -> str:
    fields: dict[str, object] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction"],
    }
    if card.license:
        fields["license"] = card.license
    # JSON is YAML, whatever a name holds.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in fields.items()), "---"])


def _table(rows: Mapping[str, object]) -> str:
    lines = (f"| {as_markdown(str(key))} | {as_markdown(str(value))} |" for key, value in rows.items())
    return "\n".join(["| | |", "|---|---|", *lines])


def push_encoder(folder: Path, repo_id: str, token: str, *, endpoint: str | None = None, private: bool = True) -> str:
    """The address of the encoder in `folder` on a hub, after it was put there as `repo_id` ("owner/name").

    `endpoint` is the hub's address, the client's default where it is None. Raises `PublishingError` with a sentence.
    """
    import httpx2  # the client's own
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if not (folder / "modules.json").is_file():
        raise InputError(f"There is no trained encoder in {folder}. Train it first.")
    if not token.strip():
        raise InputError("Pushing to a hub takes an access token with the right to write. Set HF_TOKEN.")
    api = HfApi(endpoint=endpoint, token=token)
    try:
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Add the encoder")
    except HFValidationError as error:
        raise InputError(f"A hub's name looks like 'owner/name', but '{repo_id}' was given.") from error
    except HfHubHTTPError as error:
        raise PublishingError(_refusal(error.response.status_code, repo_id, api.endpoint)) from error
    except (httpx2.HTTPError, OfflineModeIsEnabled, OSError) as error:
        raise PublishingError(
            f"The hub at {api.endpoint} cannot be reached ({type(error).__name__}). "
            f"The encoder is in {folder}; push it again when there is a connection."
        ) from error
    return str(address)


def _refusal(status: int, repo_id: str, endpoint: str) -> str:
    if status in (401, 403):
        return (
            f"The hub at {endpoint} does not let this token write to '{repo_id}' (status {status}). "
            "Give a token with the right to write, and an owner that it belongs to."
        )
    if status == 404:
        return f"The hub at {endpoint} has no owner for '{repo_id}' (status 404). Name an account or organisation."
    return f"The hub at {endpoint} refused '{repo_id}' (status {status}). Try again later."
