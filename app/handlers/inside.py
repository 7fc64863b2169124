"""Inside a corpus: search its passages word by word, and look at them on a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from app.drawing import to_svg
from app.handlers.buttons import Update
from app.mapping import N_NEIGHBOURS, Neighbours, PassageMap, draw_map, make_map
from app.passage_search import hits_html
from app.rendering import aside_html, notice_html
from app.replies import check_question
from app.shelf import RetrieverChoice, look_up, picked_corpus
from app.workbench import Workbench
from indexes.corpus import Corpus
from indexes.errors import InputError, UserError
from indexes.lexical import LexicalIndex, bm25s_words

N_HITS = 20


def search_inside(bench: Workbench, corpus: str | None, words: str) -> str:
    """The passages of `corpus` that share words with `words`, those words marked."""
    try:
        words = check_question(words)
        found = LexicalIndex.open(bench.paths, picked_corpus(bench.paths, corpus)).search(words, N_HITS)
        return hits_html(found, bm25s_words(words), N_HITS)
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
            encoder = bench.shelf.encoder(kept.map.encoder)
            point = kept.map.plane.place(encoder.encode_queries([question]))[0]
    except UserError as error:
        return MapView(None, notice_html(str(error), "error"))
    return MapView(kept, f'<div class="map">{_words(kept.map, found)}{to_svg(draw_map(kept.map, point, found))}</div>')


def _choices(bench: Workbench, corpus: str) -> Sequence[RetrieverChoice]:
    Corpus.open(bench.paths, corpus)  # a corpus that is gone is not replaced by another
    _, _, choices = look_up(bench.paths, bench.encoder, corpus)
    if not choices:
        raise InputError(
            f"Corpus '{corpus}' is not indexed yet, so its passages have no place on a map. Wait until it is."
        )
    promoted = [choice for choice in choices[1:] if choice.is_promoted]
    return [choices[0], *promoted, *(choice for choice in choices[1:] if not choice.is_promoted)]


def _current_map(bench: Workbench, corpus: str, choice: RetrieverChoice, kept: KeptMap | None) -> KeptMap:
    manifest = Corpus.open(bench.paths, corpus)
    content = manifest.content_hash()
    if kept and (kept.corpus, kept.content, kept.map.encoder) == (corpus, content, choice.encoder):
        return kept
    index = bench.shelf.index(corpus, choice.encoder)
    try:
        return KeptMap(corpus, content, make_map(choice.encoder, list(manifest.passages()), index))
    except KeyError:
        raise InputError(
            f"The index of corpus '{corpus}' lacks some of its passages, so they have no place on a map yet. Press "
            "'Bring indexes in step' above."
        ) from None


def _find(bench: Workbench, map_: PassageMap, corpus: str, choice: RetrieverChoice, question: str) -> Neighbours:
    """What `choice` finds, placed by the vectors that the map was made of."""
    found = bench.shelf.index(corpus, choice.encoder).search(question, N_NEIGHBOURS)
    passages = tuple(candidate.passage for candidate in found)
    vectors = bench.shelf.index(corpus, map_.encoder).vectors([passage.id for passage in passages])
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
