"""What a run has trained, as a search: the first hits of any retriever in the order of the run's ranker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from distill.json_files import read_json
from distill.ranker.ranker import Ranker, load_ranker
from distill.ranker.rerank import Reranker, taught_reranker
from indexes.encoders import load_encoder
from indexes.errors import NotFoundError
from indexes.filters import EVERYTHING, PassageFilter
from indexes.paths import DataPaths
from indexes.search import RetrieverKind, open_search
from indexes.types import Encoder


def open_trained(
    paths: DataPaths,
    run: str,
    kind: RetrieverKind = "fused",
    where: PassageFilter = EVERYTHING,
    *,
    encoder: Callable[[str, DataPaths], Encoder] = load_encoder,
    ranker: Callable[[Path], Ranker] = load_ranker,
) -> Reranker:
    """The search of the run's corpus by `kind`, re-ranked by the run's ranker: with the encoder that the run has
    taught, or with its base as long as it has taught none.

    Raises `NotFoundError` if the run is not there or has trained no ranker yet.
    """
    from indexes.chroma import PassageIndex
    from indexes.lexical import LexicalIndex

    folder = paths.run(run)
    config = read_json(folder / "config.json")
    if not (config and (folder / "ranker" / "head.json").is_file()):
        known = ", ".join(f"'{each.parent.parent.name}'" for each in sorted(paths.runs.glob("*/ranker/head.json")))
        raise NotFoundError(f"There is no run '{run}' with a trained ranker (there are: {known or 'none yet'}).")
    is_taught = paths.encoder(run).is_dir()
    corpus, own = str(config["corpus"]), encoder(run if is_taught else str(config["base"]), paths)
    first = open_search(paths, corpus, kind, lambda: own)
    index, lexical = PassageIndex.open(paths, corpus, own), LexicalIndex.open(paths, corpus)
    put_in_order = taught_reranker if is_taught else Reranker
    return put_in_order(partial(first.search_many, where=where), ranker(folder / "ranker"), index, lexical)
