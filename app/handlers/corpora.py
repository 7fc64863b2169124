"""The Corpora tab: files in, files out, and a look inside."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from app.handlers.buttons import StopFlag, Update, busy, idle
from app.handlers.pickers import corpus_picker
from app.passage_map import N_NEIGHBOURS, Neighbours, PassageMap, draw_map, make_map
from app.plots import to_svg
from app.rendering import aside_html, hits_html, notice_html
from app.retriever import Choice, look_up, picked_corpus
from app.streaming import check_question
from app.tables import corpora_html, outcomes_html, progress_html, sources_html
from app.workbench import Workbench
from indexes.corpus import Corpus, list_corpora
from indexes.errors import InputError, UserError
from indexes.files import is_wanted, passed_over
from indexes.lexical import LexicalIndex, question_words
from indexes.types import FileOutcome, SourceInfo

MAX_NAME_CHARACTERS = 80
_PROGRESS_INTERVAL_S = 0.2


class AddView(NamedTuple):
    """How far the files are, what became of each, and the form."""

    progress: Update
    outcomes: Update
    files: Update
    add: Update
    stop: Update


class ReindexView(NamedTuple):
    """How far the indexes are, and the buttons."""

    progress: Update
    reindex: Update
    stop: Update


def add(bench: Workbench, files: Sequence[str] | None, corpus: str | None, flag: StopFlag) -> Iterator[AddView]:
    """Progress while files are read and embedded; what was done stays, also when it is stopped."""
    flag.is_set = False
    outcomes: list[FileOutcome] = []
    try:
        name = check_name(corpus)
        check_files(files or [])
        yield AddView(notice_html("Loading the encoder …", "busy"), "", gr.skip(), *busy())
        for progress in _add_files(bench, name, files or [], outcomes, flag):
            yield AddView(progress, outcomes_html(outcomes), gr.skip(), gr.skip(), gr.skip())
    except UserError as error:
        yield AddView(notice_html(str(error), "error"), outcomes_html(outcomes), gr.skip(), *idle())
        return
    if flag.is_set:
        sentence = "Stopped. What was read is kept; add the same files again to go on."
        yield AddView(notice_html(sentence), outcomes_html(outcomes), gr.skip(), *idle())
        return
    yield AddView(_summary(name, outcomes), outcomes_html(outcomes), None, *idle())


def choose_of_folder(folder: Sequence[str] | None, files: Sequence[str] | None) -> tuple[list[str], str]:
    """The files to add once those of a `folder` came to `files`, and how many are passed over, by type.

    Hidden ones are left out without a word.
    """
    seen = [Path(file) for file in folder or [] if not Path(file).name.startswith(".")]
    passed = passed_over(file.name for file in seen if not is_wanted(file))
    chosen = [str(file) for file in seen if is_wanted(file) and str(file) not in (files or [])]
    return [*(files or []), *chosen], notice_html(passed) if passed else ""


def reindex(bench: Workbench, corpus: str | None, flag: StopFlag) -> Iterator[ReindexView]:
    """Progress while every index of `corpus` is brought in step with its files; what is there already is kept."""
    flag.is_set = False
    try:
        name = check_name(corpus)
        Corpus.open(bench.paths, name)
        yield ReindexView(notice_html("Loading the encoder …", "busy"), *busy())
        for progress in _add_files(bench, name, [], [], flag):
            yield ReindexView(progress, gr.skip(), gr.skip())
    except UserError as error:
        yield ReindexView(notice_html(str(error), "error"), *idle())
        return
    sentence = "Stopped; it goes on where it was." if flag.is_set else f"Every index of corpus '{name}' is in step."
    yield ReindexView(notice_html(sentence, "info" if flag.is_set else "done"), *idle())


def check_files(files: Sequence[str]) -> None:
    """Nothing if these files can be added; raises `InputError` if there are none, or two of one name."""
    if not files:
        raise InputError("Drop at least one file first.")
    names = [Path(file).name for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"Two of the files are called '{twice[0]}', and a corpus knows its files by name. Put them "
            "into one zip file, which keeps their folders, or rename one."
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

    encoder = bench.retrievers.new_encoder(bench.encoder)
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
    n_read = sum(outcome.status not in ("failed", "skipped", "removed") for outcome in outcomes)
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
    reindex: Update


def list_corpora_view(bench: Workbench, corpus: str | None) -> CorporaView:
    """Everything there is, as it is on disk now."""
    names, shown, _ = look_up(bench.paths, bench.encoder, corpus)
    sources = _sources(bench, shown) if shown else []
    return CorporaView(
        corpora=corpora_html(list_corpora(bench.paths), _sizes(bench, names)),
        target=gr.update(choices=names),
        corpus=corpus_picker(names, shown, corpus),
        sources=sources_html(sources) if sources else "",
        picked=gr.update(choices=[each.source for each in sources], value=[], interactive=bool(sources)),
        delete_corpus=gr.update(interactive=shown is not None),
        delete_sources=gr.update(interactive=False),
        reindex=gr.update(interactive=shown is not None),
    )


def _sources(bench: Workbench, corpus: str) -> list[SourceInfo]:
    try:
        return Corpus.open(bench.paths, corpus).sources()
    except UserError:
        return []  # deleted in this moment, in another window


def _sizes(bench: Workbench, names: Sequence[str]) -> dict[str, int]:
    return {name: sum(each.n_bytes for each in _sources(bench, name)) for name in names}


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


N_HITS = 20


def search_inside(bench: Workbench, corpus: str | None, words: str) -> str:
    """The passages of `corpus` that share words with `words`, those words marked."""
    try:
        words = check_question(words)
        found = LexicalIndex.open(bench.paths, picked_corpus(bench.paths, corpus)).search(words, N_HITS)
        return hits_html(found, question_words(words), N_HITS)
    except UserError as error:
        return notice_html(str(error), "error")


class MapView(NamedTuple):
    """The map that is kept for this visitor, and the picture of it."""

    kept: Update
    picture: Update


class KeptMap(NamedTuple):
    """A map and what it is of: once the corpus changes, it is made anew."""

    corpus: str
    content: str
    map: PassageMap


def show_map(bench: Workbench, corpus: str | None, question: str, kept: KeptMap | None) -> MapView:
    """The passages of `corpus` as points; with a question, what each of two retrievers found for it is ringed."""
    try:
        corpus = picked_corpus(bench.paths, corpus)
        choices = _choices(bench, corpus)
        kept = _current_map(bench, corpus, choices[0], kept)
        found: list[Neighbours] = []
        point = None
        if question.strip():
            question = check_question(question)
            found = [_find(bench, kept.map, kept.corpus, choice, question) for choice in choices[:2]]
            encoder = bench.retrievers.encoder(kept.map.encoder)
            point = kept.map.plane.place(encoder.encode_queries([question]))[0]
    except UserError as error:
        return MapView(None, notice_html(str(error), "error"))
    return MapView(kept, f'<div class="map">{_words(kept.map, found)}{to_svg(draw_map(kept.map, point, found))}</div>')


def _choices(bench: Workbench, corpus: str) -> Sequence[Choice]:
    """The retrievers by vectors, the baseline first, then the promoted one."""
    choices = [
        each for each in bench.retrievers.choices(Corpus.open(bench.paths, corpus)) if each.retriever.kind == "dense"
    ]
    return [choices[0], *sorted(choices[1:], key=lambda choice: not choice.is_promoted)]


def _current_map(bench: Workbench, corpus: str, choice: Choice, kept: KeptMap | None) -> KeptMap:
    opened = Corpus.open(bench.paths, corpus)
    content = opened.content_hash()
    if kept and (kept.corpus, kept.content, kept.map.encoder) == (corpus, content, choice.retriever.encoder):
        return kept
    index = bench.retrievers.index(corpus, choice.retriever.encoder)
    try:
        return KeptMap(corpus, content, make_map(choice.retriever.encoder, list(opened.passages()), index))
    except KeyError:
        raise InputError(
            f"The index of corpus '{corpus}' lacks some of its passages, so they have no place on a map yet. Press "
            "'Bring indexes in step' above."
        ) from None


def _find(bench: Workbench, map_: PassageMap, corpus: str, choice: Choice, question: str) -> Neighbours:
    """What `choice` finds, placed by the vectors that the map was made of."""
    found = bench.retrievers.index(corpus, choice.retriever.encoder).search(question, N_NEIGHBOURS)
    passages = tuple(candidate.passage for candidate in found)
    vectors = bench.retrievers.index(corpus, map_.encoder).vectors([passage.id for passage in passages])
    return Neighbours(retriever=choice.label, passages=passages, points=map_.plane.place(vectors))


def _words(map_: PassageMap, found: Sequence[Neighbours]) -> str:
    shown, n = len(map_.passages), map_.n_passages
    which = f"{shown:,} of {n:,} passages, drawn at random," if shown < n else f"All {n:,} passages"
    sentence = (
        f"{which} by the vectors of {map_.encoder}, in the two directions in which they differ most "
        f"({map_.plane.share:.0%} of all differences: what is near here may be far in truth)."
    )
    if len(found) == 2:
        ids = [{passage.id for passage in each.passages} for each in found]
        sentence += f" {len(ids[0] & ids[1])} of {len(found[0].passages)} passages were found by both retrievers."
    return aside_html(sentence)
