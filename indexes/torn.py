"""Graphs that a killed program left torn.

Chroma writes the files of a graph over each other (chroma-core/chroma issue 7678). Who is killed meanwhile leaves one
that fails at every further write, loses passages in silence, or even crashes whoever opens it. So an update leaves a
mark until it has ended well; who finds one looks at each collection before going on. That is of the embedded store: a
server that lives on has torn nothing.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexes.children import child_command
from indexes.corpus import Corpus
from indexes.errors import NotFoundError, StoreError
from indexes.paths import DataPaths
from indexes.reconciling import pages, stored_ids
from indexes.records import IndexInfo
from indexes.store import drop_collection, existing_collection

if TYPE_CHECKING:
    from indexes.store import Collection

_TORN = 3  # exit status
_CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}
_N_SEARCHED = 5000  # passages that are to find themselves; of more, so many from all over the corpus
_MOST_LOST = 0.2  # of them; a whole graph may miss some that are all alike (5 % of 1,300 sentences with one template)
_UNIT_TOLERANCE = 0.01  # as the doctor's
_FOUND = 0.99  # the score of a passage that finds itself or one like it


def mark_unfinished(paths: DataPaths, corpus: Corpus) -> None:
    """Notes that collections of `corpus` are being written."""
    if paths.store.is_embedded:
        _mark(paths, corpus).parent.mkdir(parents=True, exist_ok=True)
        _mark(paths, corpus).touch()


def mark_finished(paths: DataPaths, corpus: Corpus) -> None:
    """Notes that nothing is being written any more."""
    _mark(paths, corpus).unlink(missing_ok=True)


def is_unfinished(paths: DataPaths, corpus: Corpus) -> bool:
    """Whether the last writer of collections of `corpus` died, or one is at work."""
    return _mark(paths, corpus).exists()


def drop_torn(paths: DataPaths, corpus: Corpus) -> list[str]:
    """The encoders whose collections of `corpus` were torn by a writer that did not end well; they are deleted, so
    that an update builds them anew. After a writer that did end well nothing is looked at.
    """
    if not is_unfinished(paths, corpus):
        return []
    torn = [each for each in corpus.collections() if is_torn(paths, each.name, each.encoder)]
    for each in torn:
        drop_collection(paths, each.name)
    return [each.encoder for each in torn]


def is_torn(paths: DataPaths, collection: str, encoder: str) -> bool:
    """Whether the graph of `collection`, in the embedded store, fails or has lost passages; found out by a process that
    may crash."""
    command = child_command(__name__, str(paths.root.resolve()), collection)
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode not in {0, _TORN, *_CRASHES}:
        reason = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise StoreError(
            f"The index by '{encoder}' was being written when a program died, and cannot be examined: "
            f"{reason}. Try again; nothing was changed."
        )
    return done.returncode != 0


def main(root: str, name: str) -> None:
    """Ends this process with a status that says whether the graph is torn."""
    sys.exit(0 if _is_sound(DataPaths(Path(root)), name) else _TORN)


def _is_sound(paths: DataPaths, name: str) -> bool:
    try:
        collection = existing_collection(
            paths, IndexInfo(encoder="", fingerprint="", dimension=0, n_passages=0, collection=name)
        )
    except NotFoundError:
        return True  # there is none to be torn
    try:
        collection.count()  # brings the graph in step with what was written, or fails
        return _has_all(collection)
    except Exception:  # noqa: BLE001  # the store has its own errors for each way in which a graph can be torn
        return False


def _has_all(collection: Collection) -> bool:
    """Whether each passage has a unit vector, and most are found by it."""
    n_searched = n_lost = 0
    ids = stored_ids(collection)
    for page in pages(ids):
        vectors = np.asarray(collection.get(ids=page, include=["embeddings"])["embeddings"], dtype=np.float32)
        if len(vectors) != len(page) or not (np.abs(np.linalg.norm(vectors, axis=1) - 1) <= _UNIT_TOLERANCE).all():
            return False
        some = vectors[:: max(1, len(ids) // _N_SEARCHED)]
        nearest = collection.query(query_embeddings=some, n_results=1, include=["distances"])["distances"] or []
        n_searched += len(some)
        n_lost += sum(not row or 1 - row[0] < _FOUND for row in nearest)
    return n_lost <= _MOST_LOST * n_searched


def _mark(paths: DataPaths, corpus: Corpus) -> Path:
    return paths.locks / f"{corpus.folder.name}.unfinished"
