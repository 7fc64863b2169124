"""A run's ranker as what puts the hits of a search in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from distill.candidates import candidate_records
from distill.ranker.ranker import Ranker, load_ranker
from distill.run_folder import RANKER, RunFolder
from indexes.corpus import Corpus
from indexes.encoders.loading import load_encoder
from indexes.errors import InputError, NotFoundError
from indexes.filters import PassageFilter
from indexes.langchain import IndexRetriever, RerankCompressor, as_paths
from indexes.lexical import LexicalIndex
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.retrievers import Load, Retriever, RetrieverKind, Search, open_search
from indexes.types import Candidate, Query

_DEPTH = 20  # hits that are put in order; each costs a pass through the ranker's model
# Beside an encoder that orders have taught too: its cosines tell more than the base's, and more hits hold the answer.
# Our choices, cross-validated on training questions (docs/log.md, 2026-11-26).
_TAUGHT_DEPTH = 50
_TAUGHT_DENSE = 20.0


class RankerScorer:
    """A `Scorer` by a ranker, whose logits weigh what its model says with cosines and words.

    `index` and `lexical` give those; take the ones whose candidates the ranker was trained on, or the index of the
    encoder that its run has taught (`is_taught`). The ranker itself stays as it is. `lock` is held while it computes.
    """

    def __init__(
        self,
        ranker: Ranker,
        index: PassageIndex,
        lexical: LexicalIndex,
        *,
        is_taught: bool = False,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.depth = _TAUGHT_DEPTH if is_taught else _DEPTH
        self._ranker = copy(ranker)
        if is_taught:
            self._ranker.head = replace(ranker.head, dense=max(ranker.head.dense, _TAUGHT_DENSE))
        self._index = index
        self._lexical = lexical
        self._lock = lock or nullcontext()

    def score(self, questions: Sequence[str], lists: Sequence[Sequence[Candidate]]) -> list[list[float]]:
        """The ranker's logit of each candidate for the question of its list, which all are of the indexed corpus."""
        texts = {hit.passage.id: hit.passage.full_text for hits in lists for hit in hits}
        queries = [Query(id="", text=question) for question in questions]
        try:
            records = candidate_records(queries, lists, self._index, self._lexical)
        except KeyError as error:
            raise InputError(
                f"The ranker puts passages of its own corpus in order, and {error} is none of them. Give it what a "
                "retriever of that corpus has found."
            ) from None
        with self._lock:
            return self._ranker.score(records, texts)


def open_scorer(
    paths: DataPaths,
    corpus: str | Corpus,
    run: str,
    encoder: str,
    load: Load,
    ranker: Ranker,
    lock: AbstractContextManager[object] | None = None,
) -> RankerScorer:
    """The `ranker` of `run` over what `encoder` finds in `corpus`, beside the cosines of that one if the run has taught
    it, else of the run's base.
    """
    manifest, is_taught = Corpus.open(paths, corpus), encoder == run
    config = RunFolder(paths.run(run)).config
    index = PassageIndex.open(paths, manifest, load(run if is_taught else config.base if config else ""))
    return RankerScorer(ranker, index, LexicalIndex.open(paths, manifest), is_taught=is_taught, lock=lock)


class Taught(NamedTuple):
    """What a run with a ranker left to search with; `encoder` is the one it has taught, or its base before that."""

    corpus: str
    encoder: str
    load: Load
    scorer: RankerScorer


def find_taught(paths: DataPaths, run: str) -> Taught:
    """What `run` left; raises `NotFoundError` if it is not there or has trained no ranker yet."""
    folder, config = paths.run(run) / RANKER, RunFolder(paths.run(run)).config
    if not (config and (folder / "head.json").is_file()):
        known = ", ".join(f"'{each.parent.parent.name}'" for each in sorted(paths.runs.glob(f"*/{RANKER}/head.json")))
        raise NotFoundError(f"There is no run '{run}' with a trained ranker (there are: {known or 'none yet'}).")
    own, corpus = run if paths.encoder(run).is_dir() else config.base, config.corpus
    load = cache(partial(load_encoder, paths=paths))
    return Taught(corpus, own, load, open_scorer(paths, corpus, run, own, load, load_ranker(folder)))


def open_taught(paths: DataPaths, run: str, kind: RetrieverKind = "fused") -> Search:
    """The search of the run's corpus by what the run has taught, re-ranked by its ranker."""
    taught = find_taught(paths, run)
    way = Retriever(encoder=taught.encoder, kind=kind, is_reranked=True)
    return open_search(paths, taught.corpus, way, taught.load, taught.scorer)


def open_taught_retriever(
    run: str,
    kind: RetrieverKind = "fused",
    *,
    filter: PassageFilter | str | Mapping[str, Any] | None = None,  # what LangChain calls it
    k: int = 10,
    data_dir: str | Path | DataPaths = "data",
) -> IndexRetriever:
    """A LangChain retriever of the run's corpus by what `run` has taught, re-ranked by its ranker."""
    search = open_taught(as_paths(data_dir), run, kind)
    return IndexRetriever(search=search, k=k, search_kwargs={"filter": filter})


def open_ranker_compressor(run: str, top_n: int = 10, data_dir: str | Path | DataPaths = "data") -> RerankCompressor:
    """A LangChain compressor: the best `top_n` documents of the run's corpus, in the order of the run's ranker."""
    return RerankCompressor(scorer=find_taught(as_paths(data_dir), run).scorer, top_n=top_n)
