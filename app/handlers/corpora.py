"""The Corpora tab: files in, files out, and a look inside."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from app.handlers.buttons import BUSY_S, SAME, ConfirmView, confirm, dismiss, only
from app.handlers.pickers import corpus_picker
from app.passage_map import N_NEIGHBOURS, Neighbours, PassageMap, draw_map, make_map
from app.plots import to_svg
from app.rendering import aside_html, hits_html, notice_html
from app.retriever import Choice, look_up, picked_corpus
from app.streaming import check_question
from app.tables import corpora_html, outcomes_html, sources_html
from app.workbench import Workbench
from indexes.corpus import Corpus, list_corpora
from indexes.errors import InputError, UserError, counted
from indexes.files import is_address, is_wanted, passed_over
from indexes.lexical import LexicalIndex, question_words
from indexes.types import SourceInfo

MAX_NAME_CHARACTERS = 80


AddView = namedtuple("AddView", "said files timer awaited")
"""What became of the wish to add files, the form, and the timer that tells how far they are."""


def add(
    bench: Workbench, files: Sequence[str] | None, corpus: str | None, addresses: str, visitor: str | None = None
) -> AddView:
    """The files, and the addresses of web pages, are taken over, and added while the page goes on.

    A corpus without a name gets that of the first of them.
    """
    try:
        pages = addresses.split()
        check_files(files or [], pages)
        name = check_name((corpus or "").strip() or Path([*(files or []), *pages][0]).stem)
        bench.uploads.take(name, [Path(file) for file in files or []], pages, visitor or "")
    except UserError as error:
        return only(AddView, said=notice_html(str(error), "error"))
    said = notice_html("Taken over. It goes on when this page is closed, and is told above.", "busy")
    return AddView(said, None, gr.update(value=BUSY_S), name)


def reindex(bench: Workbench, corpus: str | None, visitor: str | None = None) -> AddView:
    """Every index of `corpus` is brought in step with its files while the page goes on; what is there is kept."""
    try:
        bench.uploads.take(Corpus.open(bench.paths, check_name(corpus)).name, visitor=visitor or "")
    except UserError as error:
        return only(AddView, said=notice_html(str(error), "error"))
    return only(AddView, said="", timer=gr.update(value=BUSY_S))


def stop(bench: Workbench, visitor: str | None = None) -> str:
    """Ends what this visitor is adding, and nobody else's."""
    if not bench.uploads.stop(visitor or ""):
        return notice_html("Nothing that was added from this browser is under way.")
    return notice_html("It stops as soon as what is in hand is kept.")


def choose_of_folder(folder: Sequence[str] | None, files: Sequence[str] | None) -> tuple[list[str], str]:
    """The files to add once those of a `folder` came to `files`, and how many are passed over, by type.

    Hidden ones are left out without a word.
    """
    seen = [Path(file) for file in folder or [] if not Path(file).name.startswith(".")]
    passed = passed_over(file.name for file in seen if not is_wanted(file))
    chosen = [str(file) for file in seen if is_wanted(file) and str(file) not in (files or [])]
    return [*(files or []), *chosen], notice_html(passed) if passed else ""


def check_files(files: Sequence[str], pages: Sequence[str] = ()) -> None:
    """Nothing if these files and web pages can be added; raises `InputError` if there are none, or two of one name."""
    if wrong := next((each for each in pages if not is_address(each)), ""):
        raise InputError(f"'{wrong[:99]}' is no address of a web page. Write it like https://host/page, one a line.")
    if not files and not pages:
        raise InputError("Drop at least one file first, or give the address of a web page.")
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


CorporaView = namedtuple(
    "CorporaView", "said outcomes ask awaited corpora target corpus sources picked delete_corpus delete_sources reindex"
)
"""What became of the latest upload, the corpora, the one that is looked at, and its files.

`awaited` is the corpus that this visitor adds files to: in the end it is the one that is looked at.
"""


def list_corpora_view(bench: Workbench, corpus: str | None, awaited: str = "") -> CorporaView:
    """Everything there is, as it is on disk now."""
    latest = bench.uploads.latest
    has_come = latest is not None and latest.corpus == awaited
    names, shown, _ = look_up(bench.paths, bench.encoder, awaited if has_come else corpus)
    sources = _sources(bench, shown) if shown else []
    sizes = {name: sum(each.n_bytes for each in _sources(bench, name)) for name in names}
    return CorporaView(
        said=notice_html(latest.sentence, latest.kind) if latest else SAME,
        outcomes=outcomes_html(latest.outcomes) if latest else SAME,
        ask=gr.update(visible=True) if has_come and shown == awaited else SAME,
        awaited="" if has_come else SAME,
        corpora=corpora_html(list_corpora(bench.paths), sizes),
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


class Doomed(NamedTuple):
    """What is to be deleted once that is confirmed: some sources of a corpus, or with none named all of it."""

    corpus: str
    sources: tuple[str, ...]


def ask_to_delete(bench: Workbench, corpus: str | None, sources: Sequence[str]) -> ConfirmView:
    """The question to confirm, with what would be lost."""
    try:
        info = Corpus.open(bench.paths, corpus or "").info()
    except UserError as error:
        return dismiss(str(error))
    some = f"{counted(len(sources), 'file')} of corpus '{info.name}'"
    what = some if sources else f"corpus '{info.name}' with all its files"
    lost = "" if sources else f" That is {info.n_documents:,} documents and {info.n_passages:,} passages."
    question = f"Delete {what}, from every index?{lost} This cannot be undone."
    return confirm(question, Doomed(info.name, tuple(sources)))


def delete(bench: Workbench, doomed: Doomed | None) -> ConfirmView:
    """What was confirmed is gone."""
    from indexes.ingest import delete_corpus, remove_sources

    if doomed is None:
        return dismiss()
    corpus, sources = doomed
    try:
        if sources:
            remove_sources(bench.paths, corpus, sources)
        else:
            delete_corpus(bench.paths, corpus)
    except UserError as error:
        return dismiss(str(error))
    gone = f"{counted(len(sources), 'file')} of corpus '{corpus}'" if sources else f"corpus '{corpus}'"
    return dismiss(f"Deleted: {gone}.", "done")


N_HITS = 20


def search_inside(bench: Workbench, corpus: str | None, words: str) -> str:
    """The passages of `corpus` that share words with `words`, those words marked."""
    try:
        words = check_question(words)
        found = LexicalIndex.open(bench.paths, picked_corpus(bench.paths, corpus)).search(words, N_HITS)
        return hits_html(found, question_words(words), N_HITS)
    except UserError as error:
        return notice_html(str(error), "error")


MapView = namedtuple("MapView", "kept picture")
"""The map that is kept for this visitor, and the picture of it."""


def show_map(bench: Workbench, corpus: str | None, question: str, kept: PassageMap | None) -> MapView:
    """The passages of `corpus` as points; with a question, what each of two retrievers found for it is ringed."""
    try:
        corpus = picked_corpus(bench.paths, corpus)
        choices = _choices(bench, corpus)
        kept = _current_map(bench, corpus, choices[0], kept)
        found: list[Neighbours] = []
        point = None
        if question.strip():
            question = check_question(question)
            found = [_find(bench, kept, choice, question) for choice in choices[:2]]
            encoder = bench.retrievers.encoder(kept.encoder)
            point = kept.plane.place(encoder.encode_queries([question]))[0]
    except UserError as error:
        return MapView(None, notice_html(str(error), "error"))
    picture = to_svg(draw_map(kept, point, found))
    return MapView(kept, f'<div class="map" tabindex="0">{_words(kept, found)}{picture}</div>')


def _choices(bench: Workbench, corpus: str) -> Sequence[Choice]:
    """The retrievers by vectors, the baseline first, then the promoted one."""
    choices = [
        each for each in bench.retrievers.choices(Corpus.open(bench.paths, corpus)) if each.retriever.kind == "dense"
    ]
    return [choices[0], *sorted(choices[1:], key=lambda choice: not choice.is_promoted)]


def _current_map(bench: Workbench, corpus: str, choice: Choice, kept: PassageMap | None) -> PassageMap:
    opened = Corpus.open(bench.paths, corpus)
    content = opened.content_hash()
    if kept and (kept.corpus, kept.content, kept.encoder) == (corpus, content, choice.retriever.encoder):
        return kept
    index = bench.retrievers.index(corpus, choice.retriever.encoder)
    try:
        return make_map(choice.retriever.encoder, list(opened.passages()), index, corpus, content)
    except KeyError:
        raise InputError(
            f"The index of corpus '{corpus}' lacks some of its passages, so they have no place on a map yet. Press "
            "'Bring indexes in step' above."
        ) from None


def _find(bench: Workbench, map_: PassageMap, choice: Choice, question: str) -> Neighbours:
    """What `choice` finds, placed by the vectors that the map was made of."""
    found = bench.retrievers.index(map_.corpus, choice.retriever.encoder).search(question, N_NEIGHBOURS)
    passages = tuple(candidate.passage for candidate in found)
    vectors = bench.retrievers.index(map_.corpus, map_.encoder).vectors([passage.id for passage in passages])
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
