"""A graph that was torn by a kill in mid-write is noticed by the next add, or the doctor, and built anew."""

import os
import shutil
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.corpus import Corpus
from indexes.doctor import examine, repair
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex, mark_unfinished
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow

N_RECORDS = 1100  # so many that the store has written the files of its graph


def keywords() -> KeywordEncoder:
    return KeywordEncoder(dimension=16)


def other() -> KeywordEncoder:
    return KeywordEncoder("other", fingerprint="other", dimension=64)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """A data folder with a corpus "zoo" by two encoders."""
    folder = tmp_path_factory.mktemp("torn")
    records = [f'{{"id": "{n}", "text": "{n * 7919 % 100_003} {n * 104_729} {n}"}}\n' for n in range(N_RECORDS)]
    (folder / "facts.jsonl").write_text("".join(records))
    paths = DataPaths(folder / "data")
    for encoder in (keywords(), other()):
        list(add_files(paths, "zoo", [folder / "facts.jsonl"], encoder))
    return paths


@pytest.fixture
def copied(whole: DataPaths, paths: DataPaths) -> DataPaths:
    shutil.copytree(whole.root, paths.root)
    return paths


def tear(paths: DataPaths, name: str) -> None:
    """Leaves a file of the graph by "keywords", the smaller one, half as long as it was."""
    file = min(paths.chroma.rglob("data_level0.bin"), key=os.path.getsize).with_name(name)
    os.truncate(file, file.stat().st_size // 2)


def n_embedded(paths: DataPaths, encoder: KeywordEncoder, said: list[str]) -> int:
    list(add_files(paths, "zoo", [], encoder, on_wait=said.append))
    return encoder.n_encoded_passages


@pytest.mark.parametrize("name", ["data_level0.bin", "index_metadata.pickle"])
def test_the_add_after_a_kill_builds_a_torn_graph_anew_and_leaves_the_whole_one(copied: DataPaths, name: str) -> None:
    """Every add would fail, and no question be answered, until somebody deletes the index."""
    mark_unfinished(copied, Corpus.open(copied, "zoo"))
    tear(copied, name)
    said: list[str] = []
    assert n_embedded(copied, keywords(), said) == N_RECORDS
    assert "by 'keywords' was torn" in said[0]
    assert n_embedded(copied, other(), said) == 0
    assert len(said) == 1
    assert examine(copied, "zoo") == []
    assert PassageIndex.open(copied, "zoo", keywords()).search("7919 104729 1", 1)[0].score > 0.99


def test_what_a_kill_left_whole_is_not_built_anew(copied: DataPaths) -> None:
    mark_unfinished(copied, Corpus.open(copied, "zoo"))
    said: list[str] = []
    assert n_embedded(copied, keywords(), said) == 0
    assert said == []
    assert not list(copied.locks.glob("*.unfinished"))


def test_the_doctor_finds_a_torn_graph_and_mends_it(copied: DataPaths) -> None:
    mark_unfinished(copied, Corpus.open(copied, "zoo"))
    tear(copied, "data_level0.bin")
    assert [(finding.kind, finding.subject) for finding in examine(copied, "zoo")] == [
        ("unreadable collection", "keywords")
    ]
    found, left = repair(copied, "zoo", lambda name, paths: keywords() if name == "keywords" else other())
    assert len(found) == 1
    assert left == []
    assert PassageIndex.open(copied, "zoo", keywords()).n_passages == N_RECORDS


def test_an_add_that_is_stopped_between_two_writes_leaves_no_mark(copied: DataPaths, tmp_path: Path) -> None:
    """Looking at a whole collection takes long, and nothing is torn by a Ctrl-C."""
    (tmp_path / "more.txt").write_text("more to read")
    for event in add_files(copied, "zoo", [tmp_path / "more.txt"], keywords()):
        if event.stage == "embedding":
            assert list(copied.locks.glob("*.unfinished"))
            break
    assert not list(copied.locks.glob("*.unfinished"))
