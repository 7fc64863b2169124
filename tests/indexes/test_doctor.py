"""The doctor names every difference between a manifest and what is there, and mends it."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import KeywordEncoder

from indexes.corpus import Corpus, list_corpora
from indexes.doctor import examine, repair
from indexes.errors import BusyError, DamagedError, NotFoundError
from indexes.ingest import add_files, delete_corpus
from indexes.lexical import LexicalIndex
from indexes.locks import writing
from indexes.manifest import deleted_folder
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Encoder

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


def lose_a_vector(paths: DataPaths, corpus: Corpus) -> None:
    corpus.delete_vectors("fake-1", corpus.passage_ids_by_length()[:1])


def change_the_dimension(paths: DataPaths, corpus: Corpus) -> None:
    corpus.record_index(replace(corpus.indexes()[0], dimension=7))


def change_the_encoder(paths: DataPaths, corpus: Corpus) -> None:
    corpus.record_index(replace(corpus.indexes()[0], fingerprint="another"))


def change_a_vector(paths: DataPaths, corpus: Corpus) -> None:
    corpus.write_vectors("fake-1", corpus.passage_ids_by_length()[:1], np.full((1, 256), 9, dtype=np.float32))


def add_a_file_to_the_manifest_only(paths: DataPaths, corpus: Corpus) -> None:
    file = paths.root / "cows.txt"
    file.write_text("Cows moo.")
    corpus.add_file("cows.txt", file, KeywordEncoder().tokenizer)


NEEDS_ENCODER: list[tuple[Callable[[DataPaths, Corpus], None], set[str]]] = [
    (lose_a_vector, {"missing vectors"}),
    (change_the_dimension, {"damaged vectors"}),
    (change_the_encoder, {"missing vectors", "unused vectors", "stale collection"}),
    (change_a_vector, {"damaged vectors"}),
    (add_a_file_to_the_manifest_only, {"missing vectors", "stale collection", "stale lexical index"}),
]


def lose_the_collection(paths: DataPaths, corpus: Corpus) -> None:
    shutil.rmtree(paths.chroma)


def begin_an_index(paths: DataPaths, corpus: Corpus) -> None:
    corpus.write_vectors("later", corpus.passage_ids_by_length()[:1], np.full((1, 4), 0.5, np.float32))


def leave_a_vector_of_a_text_that_is_gone(paths: DataPaths, corpus: Corpus) -> None:
    with corpus.connect() as connection:
        connection.execute("INSERT INTO vectors VALUES ('fake-1', x'00', x'00')")


def leave_a_partial_original(paths: DataPaths, corpus: Corpus) -> None:
    (corpus.folder / "files" / "abc.txt.partial").write_text("half")


def leave_a_lexical_index(paths: DataPaths, corpus: Corpus) -> None:
    (corpus.folder / "lexical" / "partial").mkdir()


def interrupt_a_delete(paths: DataPaths, corpus: Corpus) -> None:
    shutil.copytree(corpus.folder, deleted_folder(corpus.folder))


NEEDS_NONE: list[tuple[Callable[[DataPaths, Corpus], None], set[str]]] = [
    (lose_the_collection, {"stale collection"}),
    (begin_an_index, {"unused vectors"}),
    (leave_a_vector_of_a_text_that_is_gone, {"unused vectors"}),
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
    deleted_folder(folder).mkdir()
    assert [finding.kind for finding in examine(paths, "pets")] == ["interrupted delete"]
    assert repair(paths, "pets", no_encoder)[1] == []
    assert not deleted_folder(folder).exists()


def truncate(manifest: Path) -> None:
    os.truncate(manifest, manifest.stat().st_size // 2)


def empty(manifest: Path) -> None:
    manifest.write_bytes(b"")


def damage_a_page(manifest: Path) -> None:
    with closing(sqlite3.connect(manifest)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'documents'").fetchone()
    with manifest.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        opened.write(b"\xff" * 4096)


@pytest.mark.parametrize("harm", [truncate, empty, damage_a_page])
def test_a_damaged_manifest_is_made_anew_from_the_kept_files(
    paths: DataPaths, pets: Corpus, encoder: KeywordEncoder, harm: Callable[[Path], None]
) -> None:
    manifest = pets.folder / "manifest.sqlite"
    with closing(sqlite3.connect(manifest)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    harm(manifest)
    found, left = repair(paths, "pets", lambda name, paths: KeywordEncoder())
    assert ([finding.kind for finding in found], left) == (["damaged manifest"], [])
    texts = sorted(hit.passage.text for hit in PassageIndex.open(paths, "pets", encoder).search("cats dogs mice"))
    assert texts == ["Cats purr.", "Dogs bark.", "Mice squeak."]
    if harm is damage_a_page:
        assert [info.source for info in Corpus.open(paths, "pets").sources()] == ["cats.txt", "dogs.txt", "mice.txt"]


@pytest.mark.parametrize("harm", [truncate, empty])
def test_a_damaged_corpus_is_listed_and_deleted_and_leaves_the_others_alone(
    paths: DataPaths, pets: Corpus, encoder: KeywordEncoder, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    list(add_files(paths, "other", [tmp_path / "cats.txt"], encoder))
    for ending in ("-wal", "-shm"):
        (pets.folder / f"manifest.sqlite{ending}").unlink(missing_ok=True)
    harm(pets.folder / "manifest.sqlite")
    listed = {info.name: info.damage for info in list_corpora(paths)}
    assert listed["other"] == ""
    assert "python -m indexes doctor 'pets' --repair" in listed["pets"]
    with pytest.raises(DamagedError, match="is damaged"):
        PassageIndex.open(paths, "pets", encoder)
    with pytest.raises(DamagedError, match="is damaged"):
        list(add_files(paths, "pets", [tmp_path / "dogs.txt"], encoder))
    delete_corpus(paths, "pets")
    assert [info.name for info in list_corpora(paths)] == ["other"]
    list(add_files(paths, "pets", [tmp_path / "dogs.txt"], encoder))
    assert examine(paths, "pets") == []


def test_nothing_is_repaired_while_another_writes(paths: DataPaths, pets: Corpus) -> None:
    with writing(paths, "pets", "adding"), pytest.raises(BusyError):
        repair(paths, "pets", no_encoder)


def test_what_an_older_version_read_is_named_and_read_again(paths: DataPaths, pets: Corpus) -> None:
    with pets.connect() as connection:
        connection.execute("UPDATE sources SET reading = 1 WHERE source = 'cats.txt'")
        connection.execute("UPDATE passages SET text = 'Cats' WHERE source = 'cats.txt'")
    assert [(each.kind, each.subject) for each in examine(paths, "pets")] == [("older reading", "cats.txt")]
    _, left = repair(paths, "pets", load)
    assert left == []
    (found,) = PassageIndex.open(paths, "pets", KeywordEncoder()).search("Cats purr.", 1)
    assert found.passage.text == "Cats purr."
