"""Mends what the doctor finds: what is derived is made again, leftovers go; what is gone for good stays named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from indexes.corpus import Corpus
from indexes.deleting import doomed_folder
from indexes.doctor import Finding, examine
from indexes.embedding import update_index
from indexes.encoder_cards import remove_unused_graphs
from indexes.errors import NotFoundError
from indexes.locks import writing
from indexes.manifest import MANIFEST
from indexes.originals import FILES
from indexes.paths import DataPaths
from indexes.reconciling import pages
from indexes.records import IndexInfo
from indexes.store import (
    delete_ids,
    drop_collection,
    existing_collection,
    metadata_update,
    sentences,
)
from indexes.types import Encoder

LoadEncoder = Callable[[str, DataPaths], Encoder]
_UNUSABLE = ("missing collection", "unreadable collection", "wrong encoder", "wrong dimension")
_LACKING = ("missing vectors", "damaged passages", "wrong count")


def repair(paths: DataPaths, corpus: str, load_encoder: LoadEncoder) -> tuple[list[Finding], list[Finding]]:
    """(what was wrong, what of it still is). An encoder is loaded only where vectors have to be made."""
    with writing(paths, corpus, f"repairing corpus '{corpus}'"):
        found = examine(paths, corpus, is_ours=True)
        if any(finding.kind == "interrupted delete" for finding in found):
            shutil.rmtree(doomed_folder(paths.corpus(corpus)))
        if any(finding.kind == "unused conversion" for finding in found):
            remove_unused_graphs(paths)
        if (paths.corpus(corpus) / MANIFEST).is_file() and not any(each.kind == "damaged manifest" for each in found):
            _mend(paths, Corpus.open(paths, corpus), found, load_encoder)
            return found, examine(paths, corpus, is_ours=True)
        return found, [finding for finding in found if finding.kind != "interrupted delete"]


def _mend(paths: DataPaths, corpus: Corpus, found: list[Finding], load_encoder: LoadEncoder) -> None:
    for finding in found:
        match finding.kind:
            case "damaged original":
                corpus.originals()[finding.subject].unlink(missing_ok=True)  # it is not what its name says
            case "stray file":
                (corpus.folder / FILES / finding.subject).unlink(missing_ok=True)
            case "stale lexical index":
                shutil.rmtree(corpus.folder / "lexical" / finding.subject)
            case "half-built collection" | "orphaned collection":
                drop_collection(paths, finding.subject)
                corpus.end_collection(finding.subject)
    for info in corpus.indexes():
        _mend_index(paths, corpus, info, [each for each in found if each.subject == info.encoder], load_encoder)


def _mend_index(
    paths: DataPaths, corpus: Corpus, info: IndexInfo, found: list[Finding], load_encoder: LoadEncoder
) -> None:
    kinds = {finding.kind for finding in found}
    if kinds.intersection(_UNUSABLE):
        with suppress(NotFoundError):  # its encoder is gone: what is left of the index is better than nothing
            encoder = load_encoder(info.encoder, paths)
            drop_collection(paths, info.collection)
            _rebuild(paths, corpus, encoder)
        return
    if not kinds:
        return
    collection = existing_collection(paths, info)
    with sentences(paths, f"mending the index by '{info.encoder}'"):
        for finding in found:
            if finding.kind in ("orphaned vectors", "damaged passages"):
                delete_ids(collection, finding.ids)
            for page in pages(finding.ids if finding.kind == "stale metadata" else ()):
                passages = corpus.get_passages(page)
                metadatas: list[Any] = [metadata_update(passage) for passage in passages]
                collection.update(ids=[passage.id for passage in passages], metadatas=metadatas)
    if kinds.intersection(_LACKING):
        with suppress(NotFoundError):
            _rebuild(paths, corpus, load_encoder(info.encoder, paths))


def _rebuild(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> None:
    for info in corpus.indexes():
        if info.encoder == encoder.name:
            corpus.record_index(info, synced=-1)  # so that it is looked at, and not only counted
    for _ in update_index(paths, corpus, encoder):
        pass
