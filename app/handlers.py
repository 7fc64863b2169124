"""What happens when somebody does something on the page: plain values in, a NamedTuple of updates out."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from app.answering import Answer
from app.comparison import compare_retrievers
from app.demo import DEMO_CORPUS
from app.rendering import answer_html, command_html, comparison_html, notice_html, passages_html
from app.replies import (
    N_READ,
    N_SHOWN,
    check_question,
    open_retriever,
    passages_to_read,
    write_answers,
)
from app.retriever import retrieve
from app.shelf import RetrieverChoice, look_up, starting_choice
from app.tables import corpora_html, outcomes_html, progress_html, sources_html, stages_html
from app.workbench import Workbench
from indexes.corpus import Corpus, CorpusInfo, FileOutcome
from indexes.errors import InputError, UserError

MAX_NAME_CHARACTERS = 80
_PROGRESS_INTERVAL_S = 0.2

Update = Any
"""A value for a component, an update of its properties, or `gr.skip()`."""


class StopFlag:
    """Whether this visitor has pressed Stop; one for each session and tab."""

    def __init__(self) -> None:
        self.is_set = False

    def read(self) -> bool:
        return self.is_set


def press_stop(flag: StopFlag) -> Update:
    """The stop button, pressed."""
    flag.is_set = True
    return gr.update(interactive=False)


def _busy() -> tuple[Update, Update]:
    """The start and the stop button while something is going on."""
    return gr.update(interactive=False), gr.update(interactive=True)


def _idle() -> tuple[Update, Update]:
    return gr.update(interactive=True), gr.update(interactive=False)


# --- Ask and Compare -------------------------------------------------------------------------------------------


class AskView(NamedTuple):
    """The panel of the Ask tab and its buttons."""

    answer: Update
    passages: Update
    ask: Update
    stop: Update


def ask(bench: Workbench, question: str, corpus: str | None, encoder: str | None, flag: StopFlag) -> Iterator[AskView]:
    """First what is being done, then the passages, then the growing answer."""
    flag.is_set = False
    try:
        question = check_question(question)
        yield AskView(notice_html("Searching …", "busy"), "", *_busy())
        retrieval = retrieve(*open_retriever(bench, corpus, encoder), question, N_SHOWN)
    except UserError as error:
        yield AskView(notice_html(str(error), "error"), "", *_idle())
        return
    passages = passages_to_read(retrieval)
    waiting = Answer(n_passages=len(passages), notice="Asking the LLM …")
    answer = answer_html(waiting, "ask") if passages else ""
    yield AskView(answer, passages_html(retrieval, "ask", N_READ), gr.skip(), gr.skip())
    if passages:
        for (each,) in write_answers(bench, question, [passages], flag.read):
            yield AskView(answer_html(each, "ask"), gr.skip(), gr.skip(), gr.skip())
    yield AskView(gr.skip(), gr.skip(), *_idle())


class CompareView(NamedTuple):
    """Both panels of the Compare tab, what they have in common, and the buttons."""

    summary: Update
    left_answer: Update
    left_passages: Update
    right_answer: Update
    right_passages: Update
    compare: Update
    stop: Update


_SIDES = ("left", "right")


def compare(
    bench: Workbench,
    question: str,
    corpus: str | None,
    left: str | None,
    right: str | None,
    with_answers: bool,
    flag: StopFlag,
) -> Iterator[CompareView]:
    """First both lists of passages with how each moved, then both growing answers."""
    flag.is_set = False
    try:
        question = check_question(question)
        if left == right:
            raise InputError("Both sides are the same retriever. Pick two different ones.")
        yield CompareView(notice_html("Searching …", "busy"), "", "", "", "", *_busy())
        retrievers = dict(open_retriever(bench, corpus, encoder) for encoder in (left, right))
        comparison = compare_retrievers(question, retrievers, N_SHOWN)
    except UserError as error:
        yield CompareView(notice_html(str(error), "error"), "", "", "", "", *_idle())
        return
    shown = [
        passages_html(side, name, N_READ if with_answers else N_SHOWN, moves, is_reference=name == "left")
        for name, side, moves in zip(_SIDES, comparison.sides, comparison.moves, strict=True)
    ]
    yield CompareView(comparison_html(comparison), "", shown[0], "", shown[1], gr.skip(), gr.skip())
    passages = [passages_to_read(side) for side in comparison.sides]
    if with_answers and all(passages):
        for answers in write_answers(bench, question, passages, flag.read):
            left_html, right_html = (answer_html(*pair) for pair in zip(answers, _SIDES, strict=True))
            yield CompareView(gr.skip(), left_html, gr.skip(), right_html, gr.skip(), gr.skip(), gr.skip())
    yield CompareView(gr.skip(), gr.skip(), gr.skip(), gr.skip(), gr.skip(), *_idle())


# --- what can be picked ----------------------------------------------------------------------------------------


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
        corpus=_corpus_picker(corpora, shown, corpus),
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
        corpus=_corpus_picker(corpora, shown, corpus),
        left=_retriever_picker(choices, _keep(left, choices, first), left) | {"visible": enough},
        right=_retriever_picker(choices, _keep(right, choices, second), right) | {"visible": enough},
        teach=gr.update(value="" if enough else _how_to_teach(shown), visible=not enough),
        body=gr.update(visible=enough),
    )


def _keep(encoder: str | None, choices: Sequence[RetrieverChoice], start: RetrieverChoice | None) -> str | None:
    if encoder in [choice.encoder for choice in choices]:
        return encoder
    return start.encoder if start else None


def _corpus_picker(corpora: Sequence[CorpusInfo], shown: CorpusInfo | None, current: str | None) -> Update:
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


# --- Corpora ---------------------------------------------------------------------------------------------------


class AddView(NamedTuple):
    """How far the files are, what became of each, and the form."""

    progress: Update
    outcomes: Update
    files: Update
    add: Update
    stop: Update


def add(bench: Workbench, files: Sequence[str] | None, corpus: str | None, flag: StopFlag) -> Iterator[AddView]:
    """Progress while files are read and embedded; what was done stays, also when it is stopped."""
    flag.is_set = False
    outcomes: list[FileOutcome] = []
    try:
        name = check_name(corpus)
        check_files(files or [])
        yield AddView(notice_html("Loading the encoder …", "busy"), "", gr.skip(), *_busy())
        for progress in _add_files(bench, name, files or [], outcomes, flag):
            yield AddView(progress, outcomes_html(outcomes), gr.skip(), gr.skip(), gr.skip())
    except UserError as error:
        yield AddView(notice_html(str(error), "error"), outcomes_html(outcomes), gr.skip(), *_idle())
        return
    if flag.is_set:
        sentence = "Stopped. What was read is kept; add the same files again to go on."
        yield AddView(notice_html(sentence), outcomes_html(outcomes), gr.skip(), *_idle())
        return
    yield AddView(_summary(name, outcomes), outcomes_html(outcomes), None, *_idle())


def check_files(files: Sequence[str]) -> None:
    """Nothing if these files can be added; raises `InputError` if there are none, or two of one name."""
    if not files:
        raise InputError("Drop at least one file first.")
    names = [Path(file).name for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"Two of the files are called '{twice[0]}', and a corpus knows its files by name. Rename one, or add them "
            "to different corpora."
        )


def check_name(corpus: str | None) -> str:
    """The name of a corpus without blanks around it; raises `InputError` for an empty or endless one."""
    name = (corpus or "").strip()
    if not name:
        raise InputError("Give the corpus a name: pick one, or type a new one.")
    if len(name) > MAX_NAME_CHARACTERS:
        raise InputError(f"The name has {len(name)} characters; at most {MAX_NAME_CHARACTERS} are allowed. Shorten it.")
    return name


def _add_files(
    bench: Workbench, name: str, files: Sequence[str], outcomes: list[FileOutcome], flag: StopFlag
) -> Iterator[str]:
    """The bar to show, a few times a second; `outcomes` grows with each file."""
    from indexes.ingest import add_files

    encoder = bench.shelf.new_encoder(bench.encoder)
    shown_at = 0.0
    for event in add_files(bench.paths, name, [Path(file) for file in files], encoder):
        if event.outcome:
            outcomes.append(event.outcome)
        if flag.is_set:
            return
        if event.done == event.total or time.monotonic() - shown_at > _PROGRESS_INTERVAL_S:
            shown_at = time.monotonic()
            label = "Reading files" if event.stage == "reading" else "Embedding passages"
            yield progress_html(label, event.done, event.total)


def _summary(name: str, outcomes: Sequence[FileOutcome]) -> str:
    n_failed = sum(outcome.status == "failed" for outcome in outcomes)
    n_read = len(outcomes) - n_failed
    sentence = f"{n_read} file{'s' * (n_read != 1)} of corpus '{name}' can be asked now, on the Ask tab."
    if n_failed:
        sentence += f" {n_failed} could not be read; the table says why."
    return notice_html(sentence, "error" if n_failed else "done")


class CorporaView(NamedTuple):
    """The corpora, the one that is looked at, and its files."""

    corpora: Update
    target: Update
    corpus: Update
    sources: Update
    picked: Update
    delete_corpus: Update
    delete_sources: Update


def list_corpora_view(bench: Workbench, corpus: str | None) -> CorporaView:
    """Everything there is, as it is on disk now."""
    corpora, shown, _ = look_up(bench.paths, bench.encoder, corpus)
    names = [info.name for info in corpora]
    sources = Corpus.open(bench.paths, shown.name).sources() if shown else []
    return CorporaView(
        corpora=corpora_html(corpora),
        target=gr.update(choices=names),
        corpus=_corpus_picker(corpora, shown, corpus),
        sources=sources_html(sources) if sources else "",
        picked=gr.update(choices=[each.source for each in sources], value=[], interactive=bool(sources)),
        delete_corpus=gr.update(interactive=shown is not None),
        delete_sources=gr.update(interactive=False),
    )


class Doomed(NamedTuple):
    """What is to be deleted once that is confirmed: some sources of a corpus, or with none named all of it."""

    corpus: str
    sources: tuple[str, ...]


class ConfirmView(NamedTuple):
    """The question whether to delete, and what it is about."""

    box: Update
    question: Update
    doomed: Update


def ask_to_delete(bench: Workbench, corpus: str | None, sources: Sequence[str]) -> ConfirmView:
    """The question to confirm, with what would be lost."""
    try:
        info = Corpus.open(bench.paths, corpus or "").info()
    except UserError as error:
        return ConfirmView(gr.update(visible=False), notice_html(str(error), "error"), None)
    what = f"{len(sources)} file(s) of corpus '{info.name}'" if sources else f"corpus '{info.name}' with all its files"
    lost = "" if sources else f" That is {info.n_documents:,} documents and {info.n_passages:,} passages."
    question = f"Delete {what}, from every index?{lost} This cannot be undone."
    return ConfirmView(gr.update(visible=True), notice_html(question), Doomed(info.name, tuple(sources)))


def keep() -> ConfirmView:
    """Nothing is deleted."""
    return ConfirmView(gr.update(visible=False), "", None)


def delete(bench: Workbench, doomed: Doomed | None) -> ConfirmView:
    """What was confirmed is gone."""
    from indexes.ingest import delete_corpus, remove_sources

    if doomed is None:
        return keep()
    corpus, sources = doomed
    try:
        if sources:
            remove_sources(bench.paths, corpus, sources)
        else:
            delete_corpus(bench.paths, corpus)
    except UserError as error:
        return ConfirmView(gr.update(visible=False), notice_html(str(error), "error"), None)
    done = f"{len(sources)} file(s) of corpus '{corpus}' are deleted." if sources else f"Corpus '{corpus}' is deleted."
    return ConfirmView(gr.update(visible=False), notice_html(done, "done"), None)


# --- the background --------------------------------------------------------------------------------------------


class BackgroundView(NamedTuple):
    """What goes on in the background; `finished` counts up when something has ended, so that pickers look again."""

    banner: Update
    timer: Update
    finished: Update


def show_background(bench: Workbench, finished: int) -> BackgroundView:
    """The state of the background work now; the timer runs as long as there is any."""
    stages = bench.background.stages
    n_ended = sum(stage.state != "working" for stage in stages)
    return BackgroundView(
        banner=gr.update(value=stages_html(stages), visible=any(stage.state != "done" for stage in stages)),
        timer=gr.update(active=bench.background.is_busy),
        finished=n_ended if n_ended != finished else gr.skip(),
    )
