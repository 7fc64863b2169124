"""A corpus can be added to, changed and deleted, again and again, and embeds nothing twice."""

import json
import os
import sqlite3
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from app.tables import corpora_html
from indexes.corpus import Corpus, list_corpora
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.errors import EncoderMismatchError, InputError, NotFoundError, StoreError
from indexes.ingest import add_files, delete_corpus, remove_sources
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import FileOutcome


def add(paths: DataPaths, encoder: KeywordEncoder, *files: Path, corpus: str = "pets") -> list[FileOutcome]:
    return [event.outcome for event in add_files(paths, corpus, files, encoder) if event.outcome]


@pytest.fixture
def cats(tmp_path: Path) -> Path:
    file = tmp_path / "cats.txt"
    file.write_text("Cats purr when they are content.", encoding="utf-8")
    return file


@pytest.fixture
def dogs(tmp_path: Path) -> Path:
    file = tmp_path / "dogs.txt"
    file.write_text("Dogs bark at the postman.", encoding="utf-8")
    return file


@pytest.mark.parametrize(("name", "is_told"), [(DEFAULT_ENCODER, True), ("multilingual", False)])
def test_a_corpus_in_a_language_that_the_encoder_does_not_know_is_told(
    paths: DataPaths, tmp_path: Path, name: str, is_told: bool
) -> None:
    (tmp_path / "stairs.txt").write_text("发生火灾时请使用楼梯疏散。" * 3, encoding="utf-8")
    _, *noted = add(paths, KeywordEncoder(name), tmp_path / "stairs.txt")
    assert [outcome.status for outcome in noted] == ["noted"] * is_told
    assert all("Chinese" in outcome.reason and "ENCODER=" in outcome.reason for outcome in noted)
    assert [info.language for info in list_corpora(paths)] == ["Chinese"]
    assert ("Most of this corpus is in Chinese" in corpora_html(list_corpora(paths))) == is_told


def test_the_language_is_looked_for_again_only_where_passages_have_changed(paths: DataPaths, cats: Path) -> None:
    add(paths, KeywordEncoder(), cats)
    (info,) = list_corpora(paths)
    Corpus.open(paths, info.name).note_language("Chinese")
    add(paths, KeywordEncoder(), cats)
    assert [each.language for each in list_corpora(paths)] == ["Chinese"]
    cats.write_text("Cats purr when they are fed.", encoding="utf-8")
    add(paths, KeywordEncoder(), cats)
    assert [each.language for each in list_corpora(paths)] == [""]


def sources_found(paths: DataPaths, encoder: KeywordEncoder, question: str) -> list[str]:
    return [c.passage.source for c in PassageIndex.open(paths, "pets", encoder).search(question)]


def test_what_was_added_is_found(paths: DataPaths, encoder: KeywordEncoder, cats: Path, dogs: Path) -> None:
    assert [outcome.status for outcome in add(paths, encoder, cats, dogs)] == ["read", "read"]
    best = PassageIndex.open(paths, "pets", encoder).search("who does bark", k=1)[0]
    assert (best.passage.source, best.passage.text) == ("dogs.txt", "Dogs bark at the postman.")
    assert 0 < best.score <= 1


def test_adding_the_same_again_embeds_nothing(paths: DataPaths, encoder: KeywordEncoder, cats: Path) -> None:
    add(paths, encoder, cats)
    n_before = encoder.n_encoded_passages
    (outcome,) = add(paths, encoder, cats)
    assert (outcome.status, outcome.n_passages) == ("unchanged", 1)
    assert encoder.n_encoded_passages == n_before == 1


def test_a_file_that_an_older_version_read_is_read_again_and_embedded_only_where_it_changed(
    paths: DataPaths, encoder: KeywordEncoder, cats: Path
) -> None:
    list(add_files(paths, "pets", [cats], encoder))
    corpus, n_embedded = Corpus.open(paths, "pets"), encoder.n_encoded_passages
    with corpus.connect() as connection:
        connection.execute("UPDATE sources SET reading = 1")
    assert [source.is_older for source in corpus.sources()] == [True]
    (outcome,) = [each.outcome for each in add_files(paths, "pets", [cats], encoder) if each.outcome]
    assert (outcome.status, "older version" in outcome.reason) == ("replaced", True)
    assert [source.is_older for source in corpus.sources()] == [False]
    (outcome,) = [each.outcome for each in add_files(paths, "pets", [cats], encoder) if each.outcome]
    assert outcome.status == "unchanged"
    assert encoder.n_encoded_passages == n_embedded


def test_a_changed_file_replaces_its_own_passages_only(
    paths: DataPaths, encoder: KeywordEncoder, cats: Path, dogs: Path
) -> None:
    add(paths, encoder, cats, dogs)
    cats.write_text("Cats meow.", encoding="utf-8")
    (outcome,) = add(paths, encoder, cats)
    assert outcome.status == "replaced"
    assert encoder.n_encoded_passages == 3
    found = PassageIndex.open(paths, "pets", encoder).search("purr content meow bark", k=10)
    assert sorted(c.passage.text for c in found) == ["Cats meow.", "Dogs bark at the postman."]


def test_a_changed_file_that_cannot_be_read_leaves_the_old_one(
    paths: DataPaths, encoder: KeywordEncoder, cats: Path
) -> None:
    add(paths, encoder, cats)
    cats.write_bytes(b"\x00\x01")
    (outcome,) = add(paths, encoder, cats)
    assert outcome.status == "failed"
    assert sources_found(paths, encoder, "purr") == ["cats.txt"]


def test_a_deleted_source_is_gone(paths: DataPaths, encoder: KeywordEncoder, cats: Path, dogs: Path) -> None:
    add(paths, encoder, cats, dogs)
    remove_sources(paths, "pets", ["cats.txt"])
    assert sources_found(paths, encoder, "purr content") == ["dogs.txt"]
    assert [info.source for info in Corpus.open(paths, "pets").sources()] == ["dogs.txt"]
    assert len(list((Corpus.open(paths, "pets").folder / "files").iterdir())) == 1


def test_more_results_than_there_are_passages_are_all_of_them(
    paths: DataPaths, encoder: KeywordEncoder, cats: Path
) -> None:
    add(paths, encoder, cats)
    index = PassageIndex.open(paths, "pets", encoder)
    assert len(index.search("cats purr", 300)) == index.n_passages
    assert index.search("cats purr", 0) == []


def test_a_deleted_corpus_is_gone(paths: DataPaths, encoder: KeywordEncoder, cats: Path) -> None:
    add(paths, encoder, cats)
    delete_corpus(paths, "pets")
    assert list_corpora(paths) == []
    with pytest.raises(NotFoundError, match="no corpus 'pets'"):
        PassageIndex.open(paths, "pets", encoder)


def test_an_interrupted_indexing_goes_on_where_it_was(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps({"text": f"fact number {n} about cats"}) + "\n" for n in range(1300)))
    for event in add_files(paths, "pets", [file], encoder):
        if event.stage == "embedding" and event.done:
            break
    assert encoder.n_encoded_passages < 1300
    with pytest.raises(NotFoundError, match="no index by encoder"):
        PassageIndex.open(paths, "pets", encoder)
    add(paths, encoder)
    assert encoder.n_encoded_passages == 1300, "what was encoded before the stop was written, and is not encoded again"
    assert PassageIndex.open(paths, "pets", encoder).n_passages == 1300


def test_another_encoder_of_the_same_name_is_refused_until_rebuilt(paths: DataPaths, cats: Path) -> None:
    old, new = KeywordEncoder(), KeywordEncoder(fingerprint="fake-2")
    add(paths, old, cats)
    with pytest.raises(EncoderMismatchError, match=r"fake-1.*fake-2.*python -m indexes add 'pets'"):
        PassageIndex.open(paths, "pets", new)
    add(paths, new)
    assert sources_found(paths, new, "purr") == ["cats.txt"]
    with pytest.raises(EncoderMismatchError):
        PassageIndex.open(paths, "pets", old)


def test_two_encoders_index_one_corpus_side_by_side(paths: DataPaths, cats: Path) -> None:
    one, other = KeywordEncoder("one"), KeywordEncoder("other", dimension=64)
    add(paths, one, cats)
    add(paths, other)
    (info,) = list_corpora(paths)
    assert [(index.encoder, index.dimension, index.n_passages) for index in info.indexes] == [
        ("one", 256, 1),
        ("other", 64, 1),
    ]


def test_a_bad_file_does_not_stop_the_rest(
    paths: DataPaths, encoder: KeywordEncoder, cats: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.pdf"
    bad.write_text("no pdf")
    outcomes = add(paths, encoder, bad, cats)
    assert [outcome.status for outcome in outcomes] == ["failed", "read"]
    assert "name says PDF" in outcomes[0].reason


def test_a_corpus_of_unreadable_files_is_not_made(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pdf"
    bad.write_text("no pdf")
    with pytest.raises(InputError, match="None of the 1"):
        add(paths, encoder, bad)
    assert list_corpora(paths) == []


def test_a_record_whose_id_is_taken_is_called_by_its_file_too(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "x", "text": "Cats purr."}\n')
    (tmp_path / "b.jsonl").write_text('{"id": "x", "text": "Dogs bark."}\n{"id": "x", "text": "Dogs nap."}\n')
    outcomes = add(paths, encoder, tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert [(outcome.status, outcome.n_documents) for outcome in outcomes] == [("read", 1), ("read", 2)]
    assert outcomes[1].reason == "2 of its ids were taken; these documents are called 'b.jsonl#…'."
    ids = {passage.document_id for passage in Corpus.open(paths, "pets").passages()}
    assert ids == {"x", "b.jsonl#x", "b.jsonl#x#2"}


@pytest.mark.parametrize("name", ["Ünïcode 漢字 corpus", "../../escape", "x" * 300, "a/b", "UPPER"])
def test_any_name_works_and_stays_in_the_data_folder(
    paths: DataPaths, encoder: KeywordEncoder, cats: Path, name: str
) -> None:
    add(paths, encoder, cats, corpus=name)
    (info,) = list_corpora(paths)
    assert info.name == name
    assert Corpus.open(paths, name).folder.parent == paths.corpora
    assert PassageIndex.open(paths, name, encoder).search("purr", 1)


@pytest.mark.parametrize(("version", "remedy"), [(99, "Update this program"), (2, "add its files again")])
def test_a_store_of_another_version_is_refused(
    paths: DataPaths, encoder: KeywordEncoder, cats: Path, version: int, remedy: str
) -> None:
    add(paths, encoder, cats)
    manifest = Corpus.open(paths, "pets").folder / "manifest.sqlite"
    with sqlite3.connect(manifest) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (str(version),))
    with pytest.raises(StoreError, match=remedy):
        Corpus.open(paths, "pets")


def test_passages_are_found_with_their_kind_and_day(paths: DataPaths, encoder: KeywordEncoder, cats: Path) -> None:
    os.utime(cats, (1_700_000_000, 1_700_000_000))
    add(paths, encoder, cats)
    (stored,) = Corpus.open(paths, "pets").passages()
    (found,) = PassageIndex.open(paths, "pets", encoder).search("purr", 1)
    assert (stored.kind, stored.date) == ("txt", "2023-11-14")
    assert found.passage == stored


def test_many_questions_are_answered_at_once(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    """Chroma fails when too many results are asked for in one call."""
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps({"text": f"fact number {n} about cats"}) + "\n" for n in range(400)))
    add(paths, encoder, file)
    index = PassageIndex.open(paths, "pets", encoder)
    found = index.search_many([f"fact number {n}" for n in range(120)], k=200)
    assert [len(candidates) for candidates in found] == [200] * 120
    assert found[7] == index.search("fact number 7", k=200)
