"""The doctor names every difference between a manifest and what is there, and mends it."""

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import KeywordEncoder

from indexes.chroma import connect, existing_collection, open_collection
from indexes.corpus import Corpus
from indexes.doctor import examine, repair
from indexes.errors import BusyError, NotFoundError
from indexes.ingest import add_files, delete_corpus
from indexes.lexical import LexicalIndex
from indexes.locks import writing
from indexes.manifest import doomed_folder
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import CollectionInfo, Encoder

pytestmark = pytest.mark.slow


@pytest.fixture
def pets(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> Corpus:
    """A corpus of three files with a vector and a lexical index."""
    for name, text in (("cats", "Cats purr."), ("dogs", "Dogs bark."), ("mice", "Mice squeak.")):
        (tmp_path / f"{name}.txt").write_text(text)
    files = [tmp_path / f"{name}.txt" for name in ("cats", "dogs", "mice")]
    list(add_files(paths, "pets", files, encoder))
    LexicalIndex.open(paths, "pets")
    return Corpus.open(paths, "pets")


def load(name: str, paths: DataPaths) -> Encoder:
    if name != "keywords":
        raise NotFoundError(f"no encoder '{name}'")
    return KeywordEncoder()


def no_encoder(name: str, paths: DataPaths) -> Encoder:
    raise AssertionError("an encoder was loaded, although no vector was missing")


def collection(paths: DataPaths, corpus: Corpus):  # type: ignore[no-untyped-def]
    return existing_collection(paths, corpus.indexes()[0])


def lose_a_vector(paths: DataPaths, corpus: Corpus) -> None:
    collection(paths, corpus).delete(ids=[corpus.passage_ids_by_length()[0]])


def lose_the_collection(paths: DataPaths, corpus: Corpus) -> None:
    connect(paths).delete_collection(corpus.indexes()[0].collection)


def change_the_dimension(paths: DataPaths, corpus: Corpus) -> None:
    corpus.record_index(replace(corpus.indexes()[0], dimension=7))


def change_the_encoder(paths: DataPaths, corpus: Corpus) -> None:
    corpus.record_index(replace(corpus.indexes()[0], fingerprint="another"))


def change_a_vector(paths: DataPaths, corpus: Corpus) -> None:
    one = corpus.passage_ids_by_length()[0]
    collection(paths, corpus).update(ids=[one], embeddings=np.full((1, 256), 9, dtype=np.float32))


def change_a_text(paths: DataPaths, corpus: Corpus) -> None:
    one, vector = corpus.passage_ids_by_length()[0], np.full((1, 256), 1 / 16, dtype=np.float32)
    collection(paths, corpus).update(ids=[one], documents=["Cats bark."], embeddings=vector)


def add_a_file_to_the_manifest_only(paths: DataPaths, corpus: Corpus) -> None:
    file = paths.root / "cows.txt"
    file.write_text("Cows moo.")
    corpus.add_file("cows.txt", file, KeywordEncoder().tokenizer)


NEEDS_ENCODER: list[tuple[Callable[[DataPaths, Corpus], None], set[str]]] = [
    (lose_a_vector, {"missing vectors"}),
    (lose_the_collection, {"missing collection"}),
    (change_the_dimension, {"wrong dimension"}),
    (change_the_encoder, {"wrong encoder"}),
    (change_a_vector, {"damaged passages"}),
    (change_a_text, {"damaged passages"}),
    (add_a_file_to_the_manifest_only, {"missing vectors", "wrong count", "stale lexical index"}),
]


def add_a_vector(paths: DataPaths, corpus: Corpus) -> None:
    vector = np.full((1, 256), 1 / 16, dtype=np.float32)
    collection(paths, corpus).add(ids=["nobody"], embeddings=vector, documents=["?"], metadatas=[{"source": "?"}])


def change_the_metadata(paths: DataPaths, corpus: Corpus) -> None:
    collection(paths, corpus).update(
        ids=corpus.passage_ids_by_length()[:1], metadatas=[{"source": "old.txt", "page": 5}]
    )


def begin_an_index(paths: DataPaths, corpus: Corpus) -> None:
    open_collection(paths, corpus, KeywordEncoder("later"))


def begin_an_index_that_was_never_made(paths: DataPaths, corpus: Corpus) -> None:
    corpus.begin_collection(CollectionInfo(name="pets-123", encoder="later", fingerprint="f", synced=0))


def leave_a_collection(paths: DataPaths, corpus: Corpus) -> None:
    connect(paths).create_collection("pets-0123", metadata={"corpus": "pets"}, embedding_function=None)


def leave_a_collection_of_a_deleted_corpus(paths: DataPaths, corpus: Corpus) -> None:
    connect(paths).create_collection("gone-0123", metadata={"corpus": "gone", "uid": "x"}, embedding_function=None)


def leave_a_partial_original(paths: DataPaths, corpus: Corpus) -> None:
    (corpus.folder / "files" / "abc.txt.partial").write_text("half")


def leave_a_lexical_index(paths: DataPaths, corpus: Corpus) -> None:
    (corpus.folder / "lexical" / "partial").mkdir()


def interrupt_a_delete(paths: DataPaths, corpus: Corpus) -> None:
    shutil.copytree(corpus.folder, doomed_folder(corpus.folder))


NEEDS_NONE: list[tuple[Callable[[DataPaths, Corpus], None], set[str]]] = [
    (add_a_vector, {"orphaned vectors"}),
    (change_the_metadata, {"stale metadata"}),
    (begin_an_index, {"half-built collection"}),
    (begin_an_index_that_was_never_made, {"half-built collection"}),
    (leave_a_collection, {"orphaned collection"}),
    (leave_a_collection_of_a_deleted_corpus, {"orphaned collection"}),
    (leave_a_partial_original, {"stray file"}),
    (leave_a_lexical_index, {"stale lexical index"}),
    (interrupt_a_delete, {"interrupted delete"}),
]


def test_a_healthy_corpus_has_nothing(paths: DataPaths, pets: Corpus) -> None:
    assert examine(paths, "pets") == []
    assert repair(paths, "pets", no_encoder) == ([], [])


@pytest.mark.parametrize(("harm", "kinds"), NEEDS_ENCODER, ids=lambda value: getattr(value, "__name__", ""))
def test_what_lacks_vectors_is_named_and_made_again(
    paths: DataPaths, pets: Corpus, encoder: KeywordEncoder, harm: Callable[[DataPaths, Corpus], None], kinds: set[str]
) -> None:
    harm(paths, pets)
    assert {finding.kind for finding in examine(paths, "pets")} == kinds
    found, left = repair(paths, "pets", load)
    assert ({finding.kind for finding in found}, left) == (kinds, [])
    assert examine(paths, "pets") == []
    best = PassageIndex.open(paths, "pets", encoder).search("cats purr", 1)[0]
    assert best.passage == next(passage for passage in pets.passages() if passage.source == "cats.txt")


@pytest.mark.parametrize(("harm", "kinds"), NEEDS_NONE, ids=lambda value: getattr(value, "__name__", ""))
def test_leftovers_are_named_and_go_without_an_encoder(
    paths: DataPaths, pets: Corpus, encoder: KeywordEncoder, harm: Callable[[DataPaths, Corpus], None], kinds: set[str]
) -> None:
    harm(paths, pets)
    assert {finding.kind for finding in examine(paths, "pets")} == kinds
    found, left = repair(paths, "pets", no_encoder)
    assert ({finding.kind for finding in found}, left) == (kinds, [])
    assert examine(paths, "pets") == []
    assert PassageIndex.open(paths, "pets", encoder).n_passages == 3


def test_a_lost_original_is_named_until_the_file_is_added_again(
    paths: DataPaths, pets: Corpus, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    pets.originals()["cats.txt"].unlink()
    pets.originals()["dogs.txt"].write_text("Something else.")
    assert {finding.kind for finding in examine(paths, "pets")} == {"missing original", "damaged original"}
    _, left = repair(paths, "pets", no_encoder)
    assert [(finding.kind, finding.subject) for finding in left] == [
        ("missing original", "cats.txt"),
        ("missing original", "dogs.txt"),
    ]
    assert "python -m indexes add 'pets'" in left[0].sentence
    list(add_files(paths, "pets", [tmp_path / "cats.txt", tmp_path / "dogs.txt"], encoder))
    assert examine(paths, "pets") == []
    assert encoder.n_encoded_passages == 3


def test_without_its_encoder_an_index_stays_as_it_is_and_stays_named(paths: DataPaths, pets: Corpus) -> None:
    lose_a_vector(paths, pets)

    def gone(name: str, paths: DataPaths) -> Encoder:
        raise NotFoundError("gone")

    _, left = repair(paths, "pets", gone)
    assert [finding.kind for finding in left] == ["missing vectors"]


def test_the_rest_of_a_deleted_corpus_goes(paths: DataPaths, pets: Corpus) -> None:
    """Killed after the folder was renamed: there is no corpus any more, but its files take up the disk."""
    folder = pets.folder
    delete_corpus(paths, "pets")
    doomed_folder(folder).mkdir()
    assert [finding.kind for finding in examine(paths, "pets")] == ["interrupted delete"]
    assert repair(paths, "pets", no_encoder)[1] == []
    assert not doomed_folder(folder).exists()


def test_a_damaged_manifest_is_named_and_not_touched(paths: DataPaths, pets: Corpus) -> None:
    manifest = pets.folder / "manifest.sqlite"
    connection = sqlite3.connect(manifest)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'documents'").fetchone()
    connection.close()
    with manifest.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        opened.write(b"\xff" * 4096)
    found, left = repair(paths, "pets", no_encoder)
    assert [finding.kind for finding in left] == ["damaged manifest"]
    assert found == left


def test_nothing_is_repaired_while_another_writes(paths: DataPaths, pets: Corpus) -> None:
    with writing(paths, "pets", "adding"), pytest.raises(BusyError):
        repair(paths, "pets", no_encoder)
