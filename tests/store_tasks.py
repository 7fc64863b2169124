"""What processes of their own do to a store: on a full disk, on one that cannot be written, beside others."""

from __future__ import annotations

import resource
import shutil
import sys
from pathlib import Path

from fakes import KeywordEncoder

from indexes.corpus import list_corpora
from indexes.errors import StoreError
from indexes.ingest import add_files, delete_corpus
from indexes.paths import DataPaths
from indexes.retrievers import Retriever, RetrieverKind, open_search

KINDS: tuple[RetrieverKind, ...] = ("dense", "lexical", "fused")


def add(paths: DataPaths, file: Path, most: int) -> None:
    """Adds `file` to the corpus "zoo"; no file may grow beyond `most` bytes (0: any may), as on a full disk."""
    if most:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try:
        list(add_files(paths, "zoo", [file], KeywordEncoder()))
    except StoreError as error:
        sys.exit(f"sentence: {error}")


def use(paths: DataPaths, deletes: bool) -> None:
    """Searches "zoo" in every way, lists it, and deletes it if it is to."""
    for kind in KINDS:
        search = open_search(paths, "zoo", Retriever(encoder="keywords", kind=kind), lambda name: KeywordEncoder())
        assert search.search("Fact 7 of old.", 1)[0].passage.source == "old.jsonl", kind
    assert [corpus.name for corpus in list_corpora(paths)] == ["zoo"]
    if deletes:
        delete_corpus(paths, "zoo")
        assert list_corpora(paths) == []
        assert shutil.disk_usage(paths.root).free > 10**6


def add_in_turns(paths: DataPaths, corpus: str, files: list[Path]) -> None:
    """Adds each of `files` when nobody else writes."""
    for file in files:
        list(add_files(paths, corpus, [file], KeywordEncoder(), wait_s=60))
