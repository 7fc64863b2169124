"""What is wrong with a corpus on disk, and what mends it: what is derived is made again, what is lost stays named."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from indexes.chroma import (
    delete_ids,
    drop_collection,
    existing_collection,
    metadata_update,
    passage_metadata,
    sentences,
    stored_collections,
)
from indexes.corpus import FILES, Corpus, hash_file, list_corpora
from indexes.encoders.finding import remove_unused_graphs, unused_graphs
from indexes.errors import NotFoundError, StoreError
from indexes.ingest import update_index
from indexes.lexical import kept_in
from indexes.locks import is_being_written, writing
from indexes.manifest import MANIFEST, doomed_folder
from indexes.passage_index import compare, is_torn, is_unfinished, pages, stored_ids
from indexes.paths import DataPaths
from indexes.types import Encoder, IndexInfo, Vectors

if TYPE_CHECKING:
    from indexes.chroma import Collection


Kind = Literal[
    "damaged manifest",
    "interrupted delete",
    "missing original",
    "damaged original",
    "stray file",
    "stale lexical index",
    "half-built collection",
    "orphaned collection",
    "missing collection",
    "unreadable collection",
    "wrong encoder",
    "wrong dimension",
    "missing vectors",
    "orphaned vectors",
    "damaged passages",
    "stale metadata",
    "wrong count",
    "unused conversion",
]
_UNIT_TOLERANCE = 0.01  # vectors of int8 and bf16 encoders are a little longer or shorter than one


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference: `subject` is the file, index or collection, `ids` the passages, `sentence` what to show."""

    kind: Kind
    subject: str
    sentence: str
    ids: tuple[str, ...] = ()


def examine(paths: DataPaths, corpus: str, *, is_ours: bool = False) -> list[Finding]:
    """Every difference between what the manifest of `corpus` says and what is there; none for a healthy one.

    What a writer is about to complete is not told, unless the caller is the writer itself (`is_ours`).
    """
    if not (paths.corpus(corpus) / MANIFEST).is_file() and doomed_folder(paths.corpus(corpus)).is_dir():
        return list(_interrupted_delete(paths.corpus(corpus)))
    manifest = Corpus.open(paths, corpus)
    if damaged := list(_manifest(manifest)):
        return damaged  # it cannot be asked what should be there
    found = [*_interrupted_delete(manifest.folder), *_files(manifest), *_lexical(manifest)]
    is_quiet = is_ours or not is_being_written(paths, manifest.name)
    seen: set[str] = set()
    for info in manifest.indexes():
        found += _index(paths, manifest, info, is_seen=info.collection in seen, is_quiet=is_quiet)
        seen.add(info.collection)
    if is_quiet:
        found += _collections(paths, manifest)
    return [*found, *_conversions(paths)]


def _interrupted_delete(folder: Path) -> Iterator[Finding]:
    doomed = doomed_folder(folder)
    if doomed.is_dir():
        yield Finding(
            kind="interrupted delete",
            subject=doomed.name,
            sentence="A corpus of this name was being deleted; the rest of its folder is left.",
        )


def _manifest(corpus: Corpus) -> Iterator[Finding]:
    connection = sqlite3.connect(corpus.folder / MANIFEST)
    try:
        (told,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        connection.close()
    if told != "ok":
        sentence = f"SQLite finds the manifest damaged ({told}): delete the corpus and add its files again."
        yield Finding(kind="damaged manifest", subject=MANIFEST, sentence=sentence)


def _files(corpus: Corpus) -> Iterator[Finding]:
    originals = corpus.originals()
    for source, kept in originals.items():
        again = f"Add it again: python -m indexes add '{corpus.name}' PATH-OF-{Path(source).name}"
        if not kept.is_file():
            sentence = f"The kept original of '{source}' is gone; its passages are there. {again}"
            yield Finding(kind="missing original", subject=source, sentence=sentence)
        elif hash_file(kept) != kept.name.split(".")[0]:
            sentence = f"The kept original of '{source}' is damaged; its passages are not. {again}"
            yield Finding(kind="damaged original", subject=source, sentence=sentence)
    for file in corpus.stray_files():
        sentence = "A file is kept that no source names, as an interrupted add or delete leaves it."
        yield Finding(kind="stray file", subject=file.name, sentence=sentence)


def _lexical(corpus: Corpus) -> Iterator[Finding]:
    current = kept_in(corpus)
    for folder in sorted(current.parent.glob("*")):
        if folder != current:
            sentence = "The lexical index is of other passages than the corpus has now; it is made anew when searched."
            yield Finding(kind="stale lexical index", subject=folder.name, sentence=sentence)


def _index(paths: DataPaths, corpus: Corpus, info: IndexInfo, *, is_seen: bool, is_quiet: bool) -> Iterator[Finding]:
    try:
        collection = existing_collection(paths, info)
        if not is_seen and is_quiet and is_unfinished(paths, corpus) and is_torn(paths, info.collection, info.encoder):
            sentence = f"The graph of the index by '{info.encoder}' is torn: a program died, or a disk was full."
            yield Finding(kind="unreadable collection", subject=info.encoder, sentence=sentence)
            return
        with sentences(paths, f"reading the index by '{info.encoder}'"):
            collection.count()  # brings it in step with what was written, or fails
            wrong = _wrong_maker(info, collection)
        if wrong:
            yield wrong
            return
        if not is_seen:  # indexes that share a collection share what is wrong with it
            yield from _passages(paths, corpus, info, collection)
    except NotFoundError:
        sentence = f"The index by '{info.encoder}' is listed, but its collection is gone."
        yield Finding(kind="missing collection", subject=info.encoder, sentence=sentence)
    except StoreError as error:
        yield Finding(kind="unreadable collection", subject=info.encoder, sentence=str(error))


def _wrong_maker(info: IndexInfo, collection: Collection) -> Finding | None:
    made = collection.metadata or {}
    if made.get("fingerprint", info.fingerprint) != info.fingerprint:
        sentence = f"The collection of '{info.encoder}' was made by an encoder with fingerprint {made['fingerprint']}."
        return Finding(kind="wrong encoder", subject=info.encoder, sentence=sentence)
    some = np.asarray(collection.get(include=["embeddings"], limit=1)["embeddings"])
    if some.size and some.shape[1] != info.dimension:
        sentence = f"The vectors of '{info.encoder}' have {some.shape[1]} dimensions instead of {info.dimension}."
        return Finding(kind="wrong dimension", subject=info.encoder, sentence=sentence)
    return None


def _passages(paths: DataPaths, corpus: Corpus, info: IndexInfo, collection: Collection) -> Iterator[Finding]:
    with sentences(paths, f"reading the index by '{info.encoder}'"):
        difference = compare(corpus, collection)
        damaged, stale = _compare_contents(corpus, collection, info.dimension, set(difference.orphans))
    told: tuple[tuple[Kind, list[str], str], ...] = (
        ("missing vectors", difference.missing, "passages have no vector"),
        ("orphaned vectors", difference.orphans, "vectors are of passages that the corpus has not"),
        ("damaged passages", damaged, "passages have another text there, or no sound vector"),
        ("stale metadata", stale, "passages are shown with an older place, page or source"),
    )
    for kind, ids, what in told:
        if ids:
            sentence = f"{len(ids)} {what} in the index by '{info.encoder}'."
            yield Finding(kind=kind, subject=info.encoder, sentence=sentence, ids=tuple(ids))
    if info.n_passages != difference.n_wanted:
        sentence = (
            f"The index by '{info.encoder}' is listed with {info.n_passages} passages, but the corpus has "
            f"{difference.n_wanted}: something was added or removed since."
        )
        yield Finding(kind="wrong count", subject=info.encoder, sentence=sentence)


def _compare_contents(
    corpus: Corpus, collection: Collection, dimension: int, orphans: set[str]
) -> tuple[list[str], list[str]]:
    """(ids of passages with a wrong text or an unsound vector, ids of those with other metadata than the manifest)."""
    damaged: list[str] = []
    stale: list[str] = []
    for page in pages([identifier for identifier in stored_ids(collection) if identifier not in orphans]):
        found = collection.get(ids=page, include=["embeddings", "documents", "metadatas"])
        stored = {passage.id: passage for passage in corpus.get_passages(page)}
        vectors = np.asarray(found["embeddings"], dtype=np.float32).reshape(len(found["ids"]), -1)
        sound = _are_sound(vectors, dimension)
        rows = zip(found["ids"], found["documents"] or [], found["metadatas"] or [], sound, strict=True)
        for identifier, text, metadata, is_sound in rows:
            passage = stored[identifier]
            if not is_sound or text != passage.text:
                damaged.append(identifier)
            elif dict(metadata or {}) != passage_metadata(passage):
                stale.append(identifier)
    return damaged, stale


def _are_sound(vectors: Vectors, dimension: int) -> list[bool]:
    """For each row of vectors (N, D): of the right dimension, finite, and of length one."""
    if vectors.shape[1] != dimension:
        return [False] * len(vectors)
    lengths = np.linalg.norm(vectors, axis=1)
    return [bool(abs(length - 1) <= _UNIT_TOLERANCE) for length in lengths]  # a length that is no number is not


def _conversions(paths: DataPaths) -> Iterator[Finding]:
    for folder in unused_graphs(paths)[0]:
        n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        sentence = (
            f"An encoder's conversion of {n_bytes / 1e6:.0f} MB is kept that none uses: it is gone or was taught again."
        )
        yield Finding(kind="unused conversion", subject=folder.name, sentence=sentence)


def _collections(paths: DataPaths, corpus: Corpus) -> Iterator[Finding]:
    listed = {info.collection for info in corpus.indexes()}
    begun = {each.name: each for each in corpus.collections()}
    for name in sorted(set(begun) - listed):
        sentence = f"An index by '{begun[name].encoder}' was begun and never completed."
        yield Finding(kind="half-built collection", subject=name, sentence=sentence)
    known = {info.name for info in list_corpora(paths)}
    for collection in stored_collections(paths):
        made = collection.metadata or {}
        is_ours = made.get("uid", corpus.uid) == corpus.uid and made.get("corpus") == corpus.name
        # On a server a collection of no corpus here may be of one in another data folder.
        is_nobodys = paths.store.is_embedded and made.get("corpus") not in known
        if collection.name not in listed | set(begun) and (is_ours or is_nobodys):
            sentence = f"A collection of corpus '{made.get('corpus')}' is stored that no index uses."
            yield Finding(kind="orphaned collection", subject=collection.name, sentence=sentence)


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
