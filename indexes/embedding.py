"""The passages of a corpus → vectors in its index: whatever the manifest has and the index has not is embedded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from indexes.chroma import find_index
from indexes.corpus import Corpus
from indexes.errors import WeightsError
from indexes.paths import DataPaths
from indexes.precision import as_indexed
from indexes.reconciling import compare, drop_orphans, is_in_step, refresh_metadata, reuse_vectors
from indexes.records import IndexInfo
from indexes.store import (
    collection_name,
    drop_unless_used,
    holds_vectors_of,
    open_collection,
    sentences,
    shared_collection,
    write_passages,
)
from indexes.types import Encoder, Passage, Vectors

if TYPE_CHECKING:
    from indexes.store import Collection

_BATCH = (
    512  # passages that are read, encoded or written at a time, or more on a GPU; three times as many are in memory
)


# Gives passages of a corpus with their vectors, in any order, until each id was given.
Embed = Callable[[Corpus, Sequence[str], Encoder], Iterable[tuple[Sequence[Passage], Vectors]]]


def update_index(
    paths: DataPaths, corpus: Corpus, encoder: Encoder, embed: Embed | None = None
) -> Iterator[tuple[int, int]]:
    """(passages embedded, passages to embed) after each batch, while the index comes in step with the manifest.

    Passages that are indexed already are not embedded again, so an interrupted update goes on where it was. An encoder
    that embeds passages as another one does (the same fingerprint) shares its collection. A changed encoder gets a new
    collection, and the old one answers until the new one is complete. `embed` embeds elsewhere than in this process.
    """
    generation = corpus.generation()
    previous = find_index(corpus, encoder)
    encoder = as_indexed(encoder, [info.fingerprint for info in _own_first(corpus, encoder)])
    collection = shared_collection(paths, corpus, encoder) or open_collection(paths, corpus, encoder)
    with sentences(paths, f"comparing it with corpus '{corpus.name}'"):
        is_own = previous and holds_vectors_of(previous, encoder) and previous.collection == collection.name
        if previous and is_own and is_in_step(corpus, previous, collection):
            yield 0, 0
            return
        difference = compare(corpus, collection)
        missing = reuse_vectors(corpus, collection, difference)
    yield 0, len(missing)
    for done in _embed(collection, encoder.name, (embed or embed_here)(corpus, missing, encoder)):
        yield done, len(missing)
    with sentences(paths, f"bringing it in step with corpus '{corpus.name}'"):
        refresh_metadata(corpus, collection)
        drop_orphans(collection, difference)  # last: until here whoever asks finds what was there before
    info = IndexInfo(
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        dimension=encoder.dimension,
        n_passages=difference.n_wanted,
        collection=collection.name,
    )
    corpus.record_index(info, generation)
    # The collection before, and one of its own that was begun before there was one to share.
    for name in {previous.collection if previous else collection.name, collection_name(corpus, encoder)}:
        drop_unless_used(paths, corpus, name)


def _own_first(corpus: Corpus, encoder: Encoder) -> list[IndexInfo]:
    """The indexes of `corpus`, that by `encoder` first."""
    return sorted(corpus.indexes(), key=lambda info: info.encoder != encoder.name)


def _embed(collection: Collection, name: str, embedded: Iterable[tuple[Sequence[Passage], Vectors]]) -> Iterator[int]:
    """How many passages are written, after each batch. While one is written, the next is embedded by encoder `name`."""
    n_sent = 0
    with ThreadPoolExecutor(1, "writer") as writer:
        writing: Future[None] | None = None
        for passages, vectors in embedded:
            if not np.isfinite(vectors).all():
                raise WeightsError(
                    f"Encoder '{name}' gave vectors that are no numbers (NaN or infinite): its weights are damaged, or "
                    "it was trained too fast. Copy or train it again, or take another encoder."
                )
            before, n_before = writing, n_sent
            writing = writer.submit(write_passages, collection, passages, vectors)  # whoever stops here loses nothing
            n_sent += len(passages)
            if before:
                before.result()  # an error of the store ends the update here
                yield n_before
        if writing:
            writing.result()
            yield n_sent


def embed_here(corpus: Corpus, ids: Sequence[str], encoder: Encoder) -> Iterator[tuple[Sequence[Passage], Vectors]]:
    """Passages with their vectors, embedded in this process. While one batch is encoded, the next is read: encoder and
    SQLite let other threads run.
    """
    if not ids:
        return  # an encoder is not loaded for nothing
    with ThreadPoolExecutor(1, "reader") as reader:
        at_once = max(_BATCH, getattr(encoder, "batch_size", 0))
        for passages in _read_ahead(reader, corpus, ids, at_once):
            yield passages, encoder.encode_passages([passage.full_text for passage in passages])


def _read_ahead(
    reader: ThreadPoolExecutor, corpus: Corpus, ids: Sequence[str], at_once: int
) -> Iterator[list[Passage]]:
    """The passages with these ids, `at_once` at a time, a batch of which is read in advance."""
    batches = [list(ids[first : first + at_once]) for first in range(0, len(ids), at_once)]
    reading = [reader.submit(corpus.get_passages, batch) for batch in batches[:1]]
    for number in range(len(batches)):
        passages = reading.pop().result()
        reading = [reader.submit(corpus.get_passages, batch) for batch in batches[number + 1 : number + 2]]
        yield passages
