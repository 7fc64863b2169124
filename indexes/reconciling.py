"""How a collection differs from the manifest, and what brings it in step without embedding."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes.corpus import Corpus
from indexes.records import IndexInfo
from indexes.store import delete_ids, metadata_update, write_passages

if TYPE_CHECKING:
    from indexes.store import Collection

PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Passages that a collection lacks (shortest first) and those that it should not have any more."""

    n_wanted: int
    missing: list[str]
    orphans: list[str]


def compare(corpus: Corpus, collection: Collection) -> Difference:
    """What the manifest and the collection do not both have, by passage id."""
    wanted = corpus.passage_ids_by_length()
    present = set(stored_ids(collection))
    missing = [identifier for identifier in wanted if identifier not in present]
    return Difference(n_wanted=len(wanted), missing=missing, orphans=sorted(present.difference(wanted)))


def stored_ids(collection: Collection) -> list[str]:
    """The ids of every passage in the collection."""
    return list(collection.get(include=[])["ids"])


def is_in_step(corpus: Corpus, info: IndexInfo, collection: Collection) -> bool:
    """Whether an index has every passage as the manifest has it, told by counts alone."""
    synced = next((each.synced for each in corpus.collections() if each.name == info.collection), -1)
    return synced == corpus.generation() and int(collection.count()) == info.n_passages


def reuse_vectors(corpus: Corpus, collection: Collection, difference: Difference) -> list[str]:
    """Ids that still lack a vector, after those whose text stood elsewhere have got the vector that it had there.

    A passage that moved (another file name, another place in its document) has a new id; what the encoder reads of it
    is the same, so its vector is too.
    """
    if not difference.orphans or not difference.missing:
        return difference.missing
    waiting: defaultdict[bytes, list[str]] = defaultdict(list)
    for first in range(0, len(difference.missing), PAGE):
        for passage in corpus.get_passages(difference.missing[first : first + PAGE]):
            waiting[_content(passage.title, passage.text)].append(passage.id)
    done: set[str] = set()
    for page in pages(difference.orphans):
        found = collection.get(ids=page, include=["embeddings", "documents", "metadatas"])
        texts, metadatas = found["documents"] or [], found["metadatas"] or []
        vectors = np.asarray(found["embeddings"], dtype=np.float32)
        keys = [_content(str(m.get("title", "")), text) for m, text in zip(metadatas, texts, strict=True)]
        moved = [(identifier, row) for row, key in enumerate(keys) for identifier in waiting.pop(key, [])]
        passages = corpus.get_passages([identifier for identifier, _ in moved])
        rows = [row for _, row in moved]
        for some in range(0, len(passages), PAGE):
            write_passages(collection, passages[some : some + PAGE], vectors[rows[some : some + PAGE]])
        done.update(passage.id for passage in passages)
    return [identifier for identifier in difference.missing if identifier not in done]


def refresh_metadata(corpus: Corpus, collection: Collection) -> None:
    """Gives passages that kept their text and got other metadata (their place, their source) the present ones."""
    synced = next((each.synced for each in corpus.collections() if each.name == collection.name), 0)
    if synced == corpus.generation():
        return
    for page in pages(corpus.changed_since(synced)):
        passages = corpus.get_passages(page)
        metadatas: list[Any] = [metadata_update(passage) for passage in passages]
        collection.update(ids=[passage.id for passage in passages], metadatas=metadatas)


def drop_orphans(collection: Collection, difference: Difference) -> None:
    """Takes out what the manifest has not."""
    delete_ids(collection, difference.orphans)


def pages(ids: Sequence[str]) -> Iterator[list[str]]:
    """`ids` in parts of a size that the manifest and the store answer at once."""
    for first in range(0, len(ids), PAGE):
        yield list(ids[first : first + PAGE])


def _content(title: str, text: str) -> bytes:
    return hashlib.blake2b(f"{title}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
