"""A file is known by its content: names come and go, and what was embedded once is not embedded again."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.filters import PassageFilter
from indexes.ingest import add_files, remove_sources
from indexes.lexical import LexicalIndex
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import FileOutcome, Vectors


class UnusableEncoder(KeywordEncoder):
    """An encoder that may be asked questions only."""

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        raise AssertionError(f"{len(texts)} passages were embedded again")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two files."""
    made = tmp_path / "pets"
    made.mkdir()
    (made / "cats.txt").write_text("Cats purr when they are content.")
    (made / "dogs.txt").write_text("Dogs bark at the postman.")
    return made


def add(paths: DataPaths, encoder: KeywordEncoder, *files: Path, sync: bool = False) -> list[FileOutcome]:
    return [event.outcome for event in add_files(paths, "zoo", files, encoder, sync=sync) if event.outcome]


def statuses(outcomes: list[FileOutcome]) -> dict[str, str]:
    return {outcome.source: outcome.status for outcome in outcomes}


def found(paths: DataPaths, encoder: KeywordEncoder, question: str) -> list[tuple[str, str]]:
    """(source, document) of each passage that is found, as the index and the manifest agree."""
    candidates = PassageIndex.open(paths, "zoo", encoder).search(question)
    stored = {passage.id: passage for passage in Corpus.open(paths, "zoo").passages()}
    assert {candidate.passage.id: candidate.passage for candidate in candidates} == stored
    return [(candidate.passage.source, candidate.passage.document_id) for candidate in candidates]


def test_an_unchanged_folder_is_added_again_without_embedding(
    paths: DataPaths, encoder: KeywordEncoder, folder: Path
) -> None:
    add(paths, encoder, folder)
    outcomes = add(paths, UnusableEncoder(), folder)
    assert statuses(outcomes) == {"pets/cats.txt": "unchanged", "pets/dogs.txt": "unchanged"}


def test_equal_files_are_each_found_and_deleting_one_leaves_the_other(
    paths: DataPaths, encoder: KeywordEncoder, folder: Path
) -> None:
    (folder / "copy.txt").write_bytes((folder / "cats.txt").read_bytes())
    outcomes = add(paths, encoder, folder)
    assert statuses(outcomes) == {"pets/cats.txt": "read", "pets/copy.txt": "read", "pets/dogs.txt": "read"}
    for name in ("pets/cats.txt", "pets/copy.txt"):
        hits = LexicalIndex.open(paths, "zoo").search("cats", 5, PassageFilter(sources=(name,)))
        assert [hit.passage.source for hit in hits] == [name]
    remove_sources(paths, "zoo", ["pets/cats.txt"])
    assert sorted(source for source, _ in found(paths, encoder, "cats")) == ["pets/copy.txt", "pets/dogs.txt"]


def test_the_same_bytes_of_another_type_are_another_file(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    for name in ("a.txt", "a.md"):
        (tmp_path / name).write_text("# Cats\n\nThey purr.")
    outcomes = add(paths, encoder, tmp_path / "a.txt", tmp_path / "a.md")
    assert statuses(outcomes) == {"a.txt": "read", "a.md": "read"}


def test_a_renamed_file_moves_without_embedding(paths: DataPaths, encoder: KeywordEncoder, folder: Path) -> None:
    add(paths, encoder, folder)
    (folder / "cats.txt").rename(folder / "felines.txt")
    outcomes = add(paths, UnusableEncoder(), folder)
    assert statuses(outcomes) == {"pets/dogs.txt": "unchanged", "pets/felines.txt": "renamed"}
    assert ("pets/felines.txt", "pets/felines.txt") in found(paths, encoder, "purr")


def test_a_renamed_file_leaves_its_name_to_another(paths: DataPaths, encoder: KeywordEncoder, folder: Path) -> None:
    add(paths, encoder, folder)
    (folder / "cats.txt").rename(folder / "felines.txt")
    add(paths, encoder, folder)
    (folder / "cats.txt").write_text("Cats purr when they are content. And so on.")
    assert statuses(add(paths, encoder, folder))["pets/cats.txt"] == "read"
    assert len(found(paths, encoder, "purr")) == 3


def test_renamed_records_keep_their_own_ids(paths: DataPaths, encoder: KeywordEncoder, folder: Path) -> None:
    records = [{"id": "own", "text": "Mice squeak."}, {"text": "Cows moo."}]
    (folder / "old.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    add(paths, encoder, folder)
    (folder / "old.jsonl").rename(folder / "new.jsonl")
    add(paths, UnusableEncoder(), folder)
    documents = {document for source, document in found(paths, encoder, "mice cows") if source == "pets/new.jsonl"}
    assert documents == {"own", "pets/new.jsonl:2"}


def test_a_record_put_in_front_embeds_itself_only(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    file = tmp_path / "facts.jsonl"
    records = [json.dumps({"text": f"Fact number {n}."}) + "\n" for n in range(40)]
    file.write_text("".join(records))
    add(paths, encoder, file)
    file.write_text("".join([json.dumps({"text": "Something new."}) + "\n", *records]))
    assert statuses(add(paths, encoder, file)) == {"facts.jsonl": "replaced"}
    assert encoder.n_encoded_passages == 41
    stored = {passage.id: passage for passage in Corpus.open(paths, "zoo").passages()}
    hits = PassageIndex.open(paths, "zoo", encoder).search("fact", k=50)
    assert {hit.passage.id: hit.passage for hit in hits} == stored
    assert len(stored) == 41


def test_a_passage_that_only_moved_in_its_file_is_cited_where_it_is_now(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    file = tmp_path / "pets.md"
    file.write_text("# Cats\n\nCats purr.\n\n# Dogs\n\nDogs bark.\n")
    add(paths, encoder, file)
    file.write_text("# Cats\n\nCats purr and meow.\n\n# Dogs\n\nDogs bark.\n")
    add(paths, encoder, file)
    assert encoder.n_encoded_passages == 3
    assert len(found(paths, encoder, "bark")) == 2


def test_sync_removes_what_is_gone_and_says_so(paths: DataPaths, encoder: KeywordEncoder, folder: Path) -> None:
    add(paths, encoder, folder)
    (folder / "cats.txt").unlink()
    assert statuses(add(paths, encoder, folder)) == {"pets/dogs.txt": "unchanged"}
    assert len(found(paths, encoder, "purr")) == 2
    outcomes = add(paths, UnusableEncoder(), folder, sync=True)
    assert statuses(outcomes) == {"pets/dogs.txt": "unchanged", "pets/cats.txt": "removed"}
    assert found(paths, encoder, "purr") == [("pets/dogs.txt", "pets/dogs.txt")]
    assert len(list((Corpus.open(paths, "zoo").folder / "files").iterdir())) == 1


def test_sync_with_an_empty_folder_removes_nothing(
    paths: DataPaths, encoder: KeywordEncoder, folder: Path, tmp_path: Path
) -> None:
    """A disk that is not mounted looks like an empty folder."""
    add(paths, encoder, folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="nothing was removed"):
        add(paths, encoder, tmp_path / "empty", sync=True)
    assert len(found(paths, encoder, "purr")) == 2


def test_what_a_killed_add_left_is_swept_up_by_the_next(
    paths: DataPaths, encoder: KeywordEncoder, folder: Path
) -> None:
    add(paths, encoder, folder)
    kept = Corpus.open(paths, "zoo").folder / "files"
    (kept / "0123.txt").write_text("of a source that was replaced")
    (kept / "4567.txt.partial").write_text("half of")
    add(paths, encoder, folder)
    assert len(list(kept.iterdir())) == 2
