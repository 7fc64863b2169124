"""Whether nothing has happened since the last update: told by a note of its end, without opening the store, whose
library alone takes longer to load than all else that an add of unchanged files does."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from indexes.corpus import Corpus
from indexes.paths import DataPaths
from indexes.precision import as_indexed
from indexes.types import Encoder


def note_settled(paths: DataPaths, corpus: Corpus) -> None:
    """Notes that every index of `corpus` is in step with it now, unless one is not, because its encoder is gone."""
    behind = {each.name for each in corpus.collections() if each.synced != corpus.generation()}
    if paths.store.is_embedded and not any(info.collection in behind for info in corpus.indexes()):
        with suppress(OSError):  # a full disk: the store is looked at next time
            _note(paths, corpus).write_text(json.dumps(_state(paths, corpus)), encoding="utf-8")


def is_settled(paths: DataPaths, corpus: Corpus, encoder: Encoder) -> bool:
    """Whether `corpus` has an index that `encoder` would give, and neither the corpus nor any file of the embedded
    store was written since the indexes were in step."""
    if not paths.store.is_embedded:
        return False
    try:
        noted = json.loads(_note(paths, corpus).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if noted != _state(paths, corpus):
        return False
    own = [info for info in corpus.indexes() if info.encoder == encoder.name]
    wanted = as_indexed(encoder, [info.fingerprint for info in own]).fingerprint
    return any((info.fingerprint, info.dimension) == (wanted, encoder.dimension) for info in own)


def _state(paths: DataPaths, corpus: Corpus) -> list[object]:
    """What changes with any write to the passages and indexes of `corpus`, or to the store's tables and graphs."""
    facts = []
    for file in sorted(file for file in paths.chroma.rglob("*") if file.is_file()):
        stat = file.stat()
        facts.append([str(file.relative_to(paths.chroma)), stat.st_ino, stat.st_size, stat.st_mtime_ns])
    return [corpus.version(), facts]


def _note(paths: DataPaths, corpus: Corpus) -> Path:
    return paths.locks / f"{corpus.folder.name}.settled"
