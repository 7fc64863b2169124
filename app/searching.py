"""A picked retriever, by its key → something that can be searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from app.choices import Choice, find_choice, list_all, ranker_base
from app.retriever import IndexRetriever
from app.shelf import look_up, picked_corpus
from app.workbench import Workbench
from distill.ranker.rerank import Reranker, taught_reranker
from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.filters import EVERYTHING, PassageFilter
from indexes.lexical import FusedIndex, Searchable
from indexes.types import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class InTurn:
    """A search that serves one caller at a time."""

    search: Reranker
    lock: Lock

    def search_many(self, questions: Sequence[str], k: int, where: PassageFilter = EVERYTHING) -> list[list[Candidate]]:
        """The `k` best passages of each question, best first."""
        if where != EVERYTHING:
            raise InputError(
                "A re-ranked search cannot be narrowed yet. Ask without re-ranking, or without the filter."
            )
        with self.lock:
            return self.search.search_many(questions, k)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A retriever that is ready to be asked: of which corpus, what it is, and how to search."""

    corpus: str
    choice: Choice
    retriever: IndexRetriever


def open_retriever(bench: Workbench, corpus: str | None, key: str | None) -> Opened:
    """The retriever of `corpus` that `key` names (see `find_choice`), the one to start with where none was picked."""
    corpus = picked_corpus(bench.paths, corpus)
    Corpus.open(bench.paths, corpus)  # a corpus that is gone is not replaced by another
    _, _, dense = look_up(bench.paths, bench.encoder, corpus)
    choices = list_all(bench.paths, dense)
    if not choices:
        raise InputError(f"Corpus '{corpus}' is not indexed yet. Wait until it is, or add its files again.")
    choice = find_choice(choices, dense, key)
    search = open_search(bench, corpus, choice)
    return Opened(corpus=corpus, choice=choice, retriever=IndexRetriever(index=search))


def open_search(bench: Workbench, corpus: str, choice: Choice) -> Searchable:
    """What finds passages of `corpus` as `choice` says."""
    first = _first_search(bench, corpus, choice)
    if not choice.is_reranked:
        return first
    # The ranker weighs the cosines of the encoder that its run has taught, else those that it was trained beside.
    is_taught = choice.encoder == choice.ranker
    index = bench.shelf.index(corpus, choice.encoder if is_taught else ranker_base(bench.paths, choice.ranker))
    put_in_order = taught_reranker if is_taught else Reranker
    search = put_in_order(first.search_many, bench.shelf.ranker(choice.ranker), index, bench.shelf.lexical(corpus))
    return InTurn(search=search, lock=bench.shelf.ranking)


def _first_search(bench: Workbench, corpus: str, choice: Choice) -> Searchable:
    if not choice.encoder:
        return bench.shelf.lexical(corpus)
    index = bench.shelf.index(corpus, choice.encoder)
    if not choice.is_fused:
        return index
    return FusedIndex(index, bench.shelf.lexical(corpus), choice.mix)
