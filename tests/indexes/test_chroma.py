"""What is searched is a copy of the manifest's vectors: whatever happens to it, it is made again without embedding."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import chromadb
import pytest
from fakes import KeywordEncoder

from indexes.corpus import Corpus
from indexes.doctor import examine
from indexes.ingest import add_files, remove_sources
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths

N_RECORDS = 1100  # so many that the store has written the files of its graph


def keywords() -> KeywordEncoder:
    return KeywordEncoder(dimension=16)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """A data folder with a corpus "zoo"."""
    folder = tmp_path_factory.mktemp("whole")
    records = [f'{{"id": "{n}", "text": "{n * 7919 % 100_003} {n * 104_729} {n}"}}\n' for n in range(N_RECORDS)]
    (folder / "facts.jsonl").write_text("".join(records))
    paths = DataPaths(folder / "data")
    list(add_files(paths, "zoo", [folder / "facts.jsonl"], keywords()))
    return paths


@pytest.fixture
def copied(whole: DataPaths, paths: DataPaths) -> DataPaths:
    shutil.copytree(whole.root, paths.root)
    return paths


ASK_BY_TEXT = """
import sys, chromadb
collection = chromadb.PersistentClient(sys.argv[1]).get_collection("vectors")
print(collection.metadata["encoder"], len(collection.query(query_embeddings=[[1.0] * 16], n_results=3)["ids"][0]))
try:
    collection.query(query_texts=["7919 104729 1"])
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_another_client_that_asks_by_text_gets_an_error_and_not_another_models_neighbours(copied: DataPaths) -> None:
    """Chroma would embed the question by its own model, whatever the collection's vectors are of."""
    (folder,) = (copied.chroma / "zoo").iterdir()
    asked = subprocess.run([sys.executable, "-c", ASK_BY_TEXT, str(folder)], capture_output=True, text=True, check=True)
    answered, refused = asked.stdout.splitlines()
    assert answered == "keywords (fake-1) 3"
    assert refused.startswith("Embedding function keywords (fake-1) not found")
    shutil.copytree(folder, copied.root / "again")
    with pytest.raises(ValueError, match=r"of keywords \(fake-1\): embed by it"):
        chromadb.PersistentClient(copied.root / "again").get_collection("vectors").query(query_texts=["1"])


def files(paths: DataPaths) -> dict[str, int]:
    """The inode of each file of the store."""
    return {str(file): file.stat().st_ino for file in paths.chroma.rglob("*") if file.is_file()}


def found(paths: DataPaths) -> list[float]:
    """What a question finds; the encoder is asked for nothing else."""
    encoder = keywords()
    index = PassageIndex.open(paths, "zoo", encoder)
    assert index.n_passages == N_RECORDS
    hits = index.search("7919 104729 1", 5)
    assert hits[0].passage.document_id == "1"
    assert encoder.n_encoded_passages == 0
    return [hit.score for hit in hits]


def truncated(name: str) -> Callable[[DataPaths], None]:
    def harm(paths: DataPaths) -> None:
        (file,) = paths.chroma.rglob(name)
        os.truncate(file, file.stat().st_size // 2)

    harm.__name__ = name
    return harm


def emptied(paths: DataPaths) -> None:
    (file,) = paths.chroma.rglob("header.bin")
    os.truncate(file, 0)


def overwritten(paths: DataPaths) -> None:
    """As long as before."""
    (file,) = paths.chroma.rglob("data_level0.bin")
    file.write_bytes(b"\xff" * file.stat().st_size)


def lost(paths: DataPaths) -> None:
    shutil.rmtree(paths.chroma)


FILES = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin", "index_metadata.pickle", "chroma.sqlite3")
HARMS = [*(truncated(name) for name in FILES), emptied, overwritten, lost]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_corrupt_collection_is_noticed_before_it_is_opened_and_made_again(
    whole: DataPaths, copied: DataPaths, harm: Callable[[DataPaths], None]
) -> None:
    """Chroma would crash this process, or answer with other passages."""
    harm(copied)
    assert [finding.kind for finding in examine(copied, "zoo")] == ["stale collection"]
    assert found(copied) == found(whole)
    assert examine(copied, "zoo") == []


def test_the_next_add_makes_a_corrupt_collection_again(copied: DataPaths) -> None:
    truncated("header.bin")(copied)
    encoder = keywords()
    list(add_files(copied, "zoo", [], encoder))
    assert encoder.n_encoded_passages == 0
    assert examine(copied, "zoo") == []


def test_a_copied_data_folder_is_searched_as_it_is(copied: DataPaths) -> None:
    for file in copied.chroma.rglob("*"):
        os.utime(file, (1, 1))
    before = files(copied)
    found(copied)
    assert files(copied) == before


def test_searching_and_looking_leave_the_files_as_they_are(copied: DataPaths) -> None:
    """A stamp that reading changed would have every question make the collection again."""
    before = files(copied)
    for _ in range(3):
        found(copied)
        assert examine(copied, "zoo") == []
    assert files(copied) == before


@pytest.mark.parametrize(
    "n_new", [1, pytest.param(700, marks=pytest.mark.slow), pytest.param(1500, marks=pytest.mark.slow)]
)
def test_what_follows_an_addition_or_a_removal_is_in_step_and_leaves_no_folder(
    copied: DataPaths, tmp_path: Path, n_new: int
) -> None:
    (copied.chroma / "zoo" / "left-by-a-kill").mkdir()
    (tmp_path / "new.jsonl").write_text("".join(f'{{"text": "new {n} {n * 31}"}}\n' for n in range(n_new)))
    encoder = keywords()
    for n_wanted, change in (
        (N_RECORDS + n_new, lambda: list(add_files(copied, "zoo", [tmp_path / "new.jsonl"], encoder))),
        (N_RECORDS, lambda: remove_sources(copied, "zoo", ["new.jsonl"])),
    ):
        change()
        index = PassageIndex.open(copied, "zoo", encoder)
        ids = Corpus.open(copied, "zoo").passage_ids_by_length()
        assert (index.n_passages, len(ids), index.notice) == (n_wanted, n_wanted, "")
        nearest = [hits[0] for hits in index.search_vectors(index.vectors(ids), 1)]
        assert all(hit.score > 0.99 for hit in nearest)
        assert examine(copied, "zoo") == []
        assert len(list(copied.chroma.glob("*/*"))) == 1
    assert encoder.n_encoded_passages == n_new


def test_who_has_a_collection_open_goes_on_when_another_takes_over(copied: DataPaths, tmp_path: Path) -> None:
    index = PassageIndex.open(copied, "zoo", keywords())
    (tmp_path / "more.txt").write_text("unheard words")
    list(add_files(copied, "zoo", [tmp_path / "more.txt"], keywords()))
    assert "more.txt" in {hit.passage.source for hit in index.search("more unheard words", 5)}


def test_a_removed_passage_is_not_shown_before_the_collection_knows(copied: DataPaths) -> None:
    Corpus.open(copied, "zoo").remove_source("facts.jsonl")
    index = PassageIndex.open(copied, "zoo", keywords())
    assert index.search("7919 104729 1", 5) == []
    assert "python -m indexes add 'zoo'" in index.notice
