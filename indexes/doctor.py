"""What is wrong with a corpus on disk, and what mends it: what is derived is made again, what is lost stays named."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from indexes.chroma import drop_collection, is_current
from indexes.corpus import FILES, Corpus, hash_file
from indexes.encoders.finding import DEFAULT_ENCODER, remove_unused_graphs, unused_graphs
from indexes.encoders.loading import LoadEncoder
from indexes.errors import DamagedError, NotFoundError
from indexes.ingest import bring_in_step, update_index
from indexes.lexical import kept_in
from indexes.locks import is_being_written, writing
from indexes.manifest import MANIFEST, create_manifest, damaged, deleted_folder, is_sound, pages
from indexes.paths import DataPaths
from indexes.splitting import PassageSettings
from indexes.types import IndexInfo

Kind = Literal[
    "damaged manifest",
    "interrupted delete",
    "missing original",
    "damaged original",
    "stray file",
    "older reading",
    "stale lexical index",
    "missing vectors",
    "damaged vectors",
    "unused vectors",
    "stale collection",
    "unused conversion",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One difference: `subject` is the file, index or folder, `ids` the passages, `sentence` what to show."""

    kind: Kind
    subject: str
    sentence: str
    ids: tuple[str, ...] = ()


def examine(paths: DataPaths, corpus: str, *, is_ours: bool = False) -> list[Finding]:
    """Every difference between what the manifest of `corpus` says and what is there; none for a healthy one.

    What a writer is about to complete is not told, unless the caller is the writer itself (`is_ours`).
    """
    folder = paths.corpus(corpus)
    if not (folder / MANIFEST).is_file() and deleted_folder(folder).is_dir():
        return list(_interrupted_delete(folder))
    try:
        opened = Corpus.open(paths, corpus)
        _check_tables(opened)
    except DamagedError as error:
        return [Finding(kind="damaged manifest", subject=MANIFEST, sentence=str(error))]
    found = [*_interrupted_delete(folder), *_files(opened), *_lexical(opened)]
    if is_ours or not is_being_written(paths, opened.name):
        for info in {info.fingerprint: info for info in opened.indexes()}.values():
            found += _index(paths, opened, info)
        found += _leftovers(opened)
    return [*found, *_conversions(paths)]


def _interrupted_delete(folder: Path) -> Iterator[Finding]:
    rest = deleted_folder(folder)
    if rest.is_dir():
        yield Finding(
            kind="interrupted delete",
            subject=rest.name,
            sentence="A corpus of this name was being deleted; the rest of its folder is left.",
        )


def _check_tables(corpus: Corpus) -> None:
    with corpus.connect() as connection:
        (told,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if told != "ok":
        raise damaged(corpus.folder / MANIFEST, told)


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
    for source in corpus.older_sources():
        sentence = f"'{source}' was read by an older version of this program, which may have lost something of it."
        yield Finding(kind="older reading", subject=source, sentence=sentence)
    for file in corpus.stray_files():
        sentence = "A file is kept that no source names, as an interrupted add or delete leaves it."
        yield Finding(kind="stray file", subject=file.name, sentence=sentence)


def _lexical(corpus: Corpus) -> Iterator[Finding]:
    current = kept_in(corpus)
    for folder in sorted(current.parent.glob("*")):
        if folder != current:
            sentence = "The lexical index is of other passages than the corpus has now; it is made anew when searched."
            yield Finding(kind="stale lexical index", subject=folder.name, sentence=sentence)


def _index(paths: DataPaths, corpus: Corpus, info: IndexInfo) -> Iterator[Finding]:
    missing = corpus.passages_without_vector(info.fingerprint)
    read = (
        corpus.read_vectors(info.fingerprint, page) for page in pages(corpus.passages_with_vector(info.fingerprint))
    )
    unsound = [name for some in read for name, each in some.items() if not is_sound(each, info.dimension)]
    if missing:
        sentence = f"{len(missing)} passages have no vector in the index by '{info.encoder}'."
        yield Finding(kind="missing vectors", subject=info.encoder, sentence=sentence, ids=tuple(missing))
    if unsound:
        sentence = f"{len(unsound)} passages have no sound vector in the index by '{info.encoder}'."
        yield Finding(kind="damaged vectors", subject=info.encoder, sentence=sentence, ids=tuple(unsound))
    if not is_current(paths, corpus, info):
        sentence = f"What is searched by '{info.encoder}' is gone, corrupt or older than the vectors; it is made anew."
        yield Finding(kind="stale collection", subject=info.encoder, sentence=sentence)


def _leftovers(corpus: Corpus) -> Iterator[Finding]:
    with corpus.connect() as connection:
        (n_unused,) = connection.execute(f"SELECT COUNT(*) FROM vectors WHERE {_UNUSED}").fetchone()  # noqa: S608
    if n_unused:
        sentence = f"{n_unused} vectors are of no passage or index any more, as an add leaves them that did not end."
        yield Finding(kind="unused vectors", subject=MANIFEST, sentence=sentence)


def _conversions(paths: DataPaths) -> Iterator[Finding]:
    for folder in unused_graphs(paths)[0]:
        n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        sentence = (
            f"An encoder's conversion of {n_bytes / 1e6:.0f} MB is kept that none uses: it is gone or was taught again."
        )
        yield Finding(kind="unused conversion", subject=folder.name, sentence=sentence)


_UNUSED = (
    "fingerprint NOT IN (SELECT fingerprint FROM indexes) OR "
    "NOT EXISTS (SELECT 1 FROM passages p WHERE p.content = vectors.content)"
)


def repair(paths: DataPaths, corpus: str, load_encoder: LoadEncoder) -> tuple[list[Finding], list[Finding]]:
    """(what was wrong, what of it still is). An encoder is loaded only where vectors have to be made."""
    with writing(paths, corpus, f"repairing corpus '{corpus}'"):
        found = examine(paths, corpus, is_ours=True)
        kinds = {finding.kind for finding in found}
        if "interrupted delete" in kinds:
            shutil.rmtree(deleted_folder(paths.corpus(corpus)))
        if "unused conversion" in kinds:
            remove_unused_graphs(paths)
        if "damaged manifest" in kinds:
            _make_manifest_anew(paths, paths.corpus(corpus), load_encoder)
        elif (paths.corpus(corpus) / MANIFEST).is_file():
            _mend(paths, Corpus.open(paths, corpus), found, load_encoder)
        else:
            return found, []
        return found, examine(paths, corpus, is_ours=True)


def _mend(paths: DataPaths, corpus: Corpus, found: list[Finding], load_encoder: LoadEncoder) -> None:
    for finding in found:
        match finding.kind:
            case "damaged original":
                corpus.originals()[finding.subject].unlink(missing_ok=True)  # it is not what its name says
            case "stray file":
                (corpus.folder / FILES / finding.subject).unlink(missing_ok=True)
            case "stale lexical index":
                shutil.rmtree(corpus.folder / "lexical" / finding.subject)
            case "unused vectors":
                with corpus.connect() as connection:
                    connection.execute(f"DELETE FROM vectors WHERE {_UNUSED}")  # noqa: S608
    _read_again(paths, corpus, [each.subject for each in found if each.kind == "older reading"], load_encoder)
    for info in corpus.indexes():
        _mend_index(paths, corpus, info, [each for each in found if each.subject == info.encoder], load_encoder)


def _read_again(paths: DataPaths, corpus: Corpus, sources: list[str], load_encoder: LoadEncoder) -> None:
    """Reads kept originals once more; passages whose text stays keep their vectors, others are embedded anew."""
    originals = corpus.originals()
    whole = [source for source in sources if originals[source].is_file()]
    if not whole:
        return
    names = [info.encoder for info in corpus.indexes()] or [DEFAULT_ENCODER]
    encoders = [load_encoder(name, paths) for name in names]
    for source in whole:
        corpus.add_file(source, originals[source], encoders[0].tokenizer)
    for encoder in encoders:
        list(update_index(paths, corpus, encoder))


def _mend_index(
    paths: DataPaths, corpus: Corpus, info: IndexInfo, found: list[Finding], load_encoder: LoadEncoder
) -> None:
    for finding in found:
        if finding.kind == "damaged vectors":
            drop_collection(paths, corpus, info.fingerprint)
            corpus.delete_vectors(info.fingerprint, finding.ids)
    if any(finding.kind in ("missing vectors", "damaged vectors") for finding in found):
        with suppress(NotFoundError):  # its encoder is gone: what is left of the index is better than nothing
            list(update_index(paths, corpus, load_encoder(info.encoder, paths)))
            return
    bring_in_step(paths, corpus, info.encoder, info.fingerprint, info.dimension)


def _make_manifest_anew(paths: DataPaths, folder: Path, load_encoder: LoadEncoder) -> None:
    """Reads the kept originals again; names, settings and vectors are taken from the damaged manifest where they can be
    read. It stays beside the new one.
    """
    damaged = folder / f"{MANIFEST}.damaged"
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            (folder / f"{MANIFEST}{ending}").replace(f"{damaged}{ending}")
    with closing(sqlite3.connect(damaged)) as old:
        meta: dict[str, str] = dict(_readable(old, "SELECT key, value FROM meta"))
        names: dict[str, str] = dict(_readable(old, "SELECT content_hash, source FROM sources"))
        encoders = [row[0] for row in _readable(old, "SELECT encoder FROM indexes")] or [DEFAULT_ENCODER]
        loaded = [load_encoder(encoder, paths) for encoder in encoders]
        most = int(meta.get("max_tokens", min(256, loaded[0].max_tokens)))
        settings = PassageSettings(max_tokens=most, overlap_tokens=int(meta.get("overlap_tokens", most // 8)))
        create_manifest(folder, meta.get("name", folder.name), settings)
        corpus = Corpus(folder)
        with corpus.connect() as connection:
            rows = _readable(old, "SELECT fingerprint, content, vector FROM vectors")
            connection.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)", rows)
    shutil.rmtree(folder / "lexical", ignore_errors=True)
    for kept in sorted((folder / FILES).glob("*")):
        corpus.add_file(names.get(kept.name.partition(".")[0], kept.name), kept, loaded[0].tokenizer)
    for encoder in loaded:
        list(update_index(paths, corpus, encoder))


def _readable(connection: sqlite3.Connection, query: str) -> Iterator[Any]:
    """The rows up to the first that is damaged."""
    with suppress(sqlite3.DatabaseError):
        yield from connection.execute(query)
