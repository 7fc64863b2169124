"""The passages of a corpus → vectors in its index: whatever the manifest has and the index has not is embedded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from indexes.chroma import (
    collection_name,
    delete_ids,
    drop_unless_used,
    find_index,
    open_collection,
    shared_collection,
    write_passages,
)
from indexes.corpus import Corpus, IndexInfo
from indexes.paths import DataPaths
from indexes.types import Encoder

_BATCH = 128


def update_index(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> Iterator[tuple[int, int]]:
    """(passages embedded, passages to embed) after each batch, while the index comes in step with the manifest.

    Passages that are indexed already are not embedded again, so an interrupted update goes on where it was. An encoder
    that embeds passages as another one does (the same fingerprint) shares its collection. A changed encoder gets a new
    collection, and the old one answers until the new one is complete.
    """
    previous = find_index(corpus, encoder)
    collection = shared_collection(paths, corpus, encoder) or open_collection(paths, corpus, encoder)
    wanted = corpus.passage_ids_by_length()
    present = set(collection.get(include=[])["ids"])
    delete_ids(collection, sorted(present.difference(wanted)))
    missing = [identifier for identifier in wanted if identifier not in present]
    yield 0, len(missing)
    for first in range(0, len(missing), _BATCH):
        passages = corpus.get_passages(missing[first : first + _BATCH])
        write_passages(collection, passages, encoder.encode_passages([passage.full_text for passage in passages]))
        yield min(first + _BATCH, len(missing)), len(missing)
    info = IndexInfo(
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        n_passages=len(wanted),
        collection=collection.name,
    )
    corpus.record_index(info)
    for other in corpus.indexes():
        if other.collection == info.collection:
            corpus.record_index(replace(other, n_passages=len(wanted)))
    # The collection before, and one of its own that was begun before there was one to share.
    for name in {previous.collection if previous else collection.name, collection_name(corpus, encoder)}:
        drop_unless_used(paths, corpus, name)
