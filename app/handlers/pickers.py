"""What can be picked on the Ask and the Compare tab, as it is on disk now."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import gradio as gr

from app.demo import DEMO_CORPUS
from app.handlers.buttons import Update
from app.rendering import command_html, notice_html
from app.shelf import RetrieverChoice, look_up, starting_choice
from app.workbench import Workbench
from indexes.corpus import CorpusInfo


class AskChoices(NamedTuple):
    """What can be picked on the Ask tab."""

    corpus: Update
    retriever: Update
    examples: Update


def list_ask_choices(bench: Workbench, corpus: str | None, encoder: str | None) -> AskChoices:
    """The corpora and retrievers as they are on disk now; what was picked stays picked if it is still there."""
    corpora, shown, choices = look_up(bench.paths, bench.encoder, corpus)
    picked = _keep(encoder, choices, starting_choice(choices))
    return AskChoices(
        corpus=corpus_picker(corpora, shown, corpus),
        retriever=_retriever_picker(choices, picked, encoder) | {"info": _meaning(shown, choices, picked)},
        examples=gr.update(visible=shown is not None and shown.name == DEMO_CORPUS),
    )


def explain_retriever(bench: Workbench, corpus: str | None, encoder: str | None) -> Update:
    """The retriever's picker with one line on what the picked one is."""
    _, shown, choices = look_up(bench.paths, bench.encoder, corpus)
    return gr.update(info=_meaning(shown, choices, encoder))


class CompareChoices(NamedTuple):
    """What can be picked on the Compare tab; `teach` stands there while there is nothing to compare with."""

    corpus: Update
    left: Update
    right: Update
    teach: Update
    body: Update


def list_compare_choices(bench: Workbench, corpus: str | None, left: str | None, right: str | None) -> CompareChoices:
    """The corpora and both sides' retrievers as they are on disk now."""
    corpora, shown, choices = look_up(bench.paths, bench.encoder, corpus)
    enough = len(choices) > 1
    first = next(iter(choices), None)
    start = starting_choice(choices)
    second = start if start != first else next(iter(choices[1:]), None)
    return CompareChoices(
        corpus=corpus_picker(corpora, shown, corpus),
        left=_retriever_picker(choices, _keep(left, choices, first), left) | {"visible": enough},
        right=_retriever_picker(choices, _keep(right, choices, second), right) | {"visible": enough},
        teach=gr.update(value="" if enough else _how_to_teach(shown), visible=not enough),
        body=gr.update(visible=enough),
    )


def _keep(encoder: str | None, choices: Sequence[RetrieverChoice], start: RetrieverChoice | None) -> str | None:
    if encoder in [choice.encoder for choice in choices]:
        return encoder
    return start.encoder if start else None


def corpus_picker(corpora: Sequence[CorpusInfo], shown: CorpusInfo | None, current: str | None) -> Update:
    names = [info.name for info in corpora]
    return gr.update(choices=names, interactive=bool(names), **_changed(shown.name if shown else None, current))


def _retriever_picker(choices: Sequence[RetrieverChoice], picked: str | None, current: str | None) -> Update:
    return gr.update(choices=[(choice.label, choice.encoder) for choice in choices], **_changed(picked, current))


def _changed(value: str | None, current: str | None) -> dict[str, Any]:
    """The value to set, if it is another: setting the same one would undo what was picked in the meantime."""
    return {} if value == current else {"value": value}


def _meaning(shown: CorpusInfo | None, choices: Sequence[RetrieverChoice], picked: str | None) -> str:
    if shown is None:
        return "There is no corpus yet. Add files on the Corpora tab to make one."
    if not choices:
        return "This corpus is not indexed yet. It can be asked as soon as it is."
    return next((choice.meaning for choice in choices if choice.encoder == picked), "")


def _how_to_teach(shown: CorpusInfo | None) -> str:
    if shown is None:
        return notice_html("There is no corpus yet. Add files on the Corpora tab to make one.")
    return command_html(
        f"Corpus '{shown.name}' has only one retriever, so there is nothing to compare yet. Teach a second one from "
        "the order in which an LLM ranks passages; it appears here when it is done:",
        f"python -m distill run {shlex.quote(shown.name)} --write-questions 200 --name my-retriever",
    )
