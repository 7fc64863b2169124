"""A disk that fills up while an index is written: the old index still answers, and the next `add` completes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import store_tasks
from fakes import KeywordEncoder
from forked import Ended, run_forked

from indexes.corpus import Corpus
from indexes.doctor import examine
from indexes.errors import StoreError
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths, write_file

pytestmark = pytest.mark.slow


def write(file: Path, n_records: int) -> Path:
    records = [{"text": f"Fact {n} of {file.stem}."} for n in range(n_records)]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def add_in_a_child(paths: DataPaths, file: Path, most: int = 0) -> Ended:
    return run_forked((store_tasks.add, (paths, file, most)))[0]


def largest(folder: Path) -> int:
    return max(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
@pytest.mark.parametrize(("where", "more"), [("corpora", 40_000), ("chroma", 200_000), ("chroma", 1_200_000)])
def test_the_old_index_answers_and_the_next_add_completes_it(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path, where: str, more: int
) -> None:
    """The limit is met in the manifest, in the store's tables, or in its graph."""
    list(add_files(paths, "zoo", [write(tmp_path / "old.jsonl", 300)], encoder))
    new = write(tmp_path / "new.jsonl", 1500)
    failed = add_in_a_child(paths, new, largest(paths.root / where) + more)
    assert failed.code == 1, "nothing failed: the limit was not met"
    assert failed.said.startswith("sentence: "), failed.said
    assert PassageIndex.open(paths, "zoo", encoder).search("Fact 7 of old.", 1)[0].passage.source == "old.jsonl"
    completed = add_in_a_child(paths, new)
    assert completed.code == 0, completed.said
    assert examine(paths, "zoo") == []
    assert PassageIndex.open(paths, "zoo", encoder).n_passages == Corpus.open(paths, "zoo").info().n_passages == 1800


def test_an_add_stops_while_there_is_room_to_read(small_disk: Path, tmp_path: Path) -> None:
    """SQLite cannot even open a store on a full disk, so that nobody could search it."""
    paths = DataPaths(small_disk / "data")
    assert add_in_a_child(paths, write(tmp_path / "old.jsonl", 300)).code == 0
    failed = add_in_a_child(paths, write(tmp_path / "new.jsonl", 9000))
    assert (failed.code, "MiB left" in failed.said) == (1, True)
    use(paths)


def test_a_disk_that_is_all_but_full_is_a_sentence_at_once(small_disk: Path, encoder: KeywordEncoder) -> None:
    (small_disk / "films").write_bytes(b"0" * (20 * 2**20))
    with pytest.raises(StoreError, match=r"MiB left.*goes on where it stopped"):
        list(add_files(DataPaths(small_disk), "zoo", [write(small_disk / "a.jsonl", 1)], encoder))


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss of power between the two would leave an empty file in the place of a good one."""
    synced: list[tuple[str, bool]] = []
    target = tmp_path / "kept.json"

    def note(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, target.exists()))

    monkeypatch.setattr(os, "fsync", note)
    (tmp_path / ".kept.json.partial").write_text("left by a kill")
    write_file(target, "whole")
    assert synced == [(".kept.json.partial", False), (tmp_path.name, True)]
    assert target.read_text() == "whole" and [each.name for each in tmp_path.iterdir()] == ["kept.json"]


def test_a_file_that_does_not_fit_leaves_the_one_before(small_disk: Path) -> None:
    write_file(small_disk / "a", "before")
    with pytest.raises(StoreError, match=r"cannot be written: No space left.*what was there is kept"):
        write_file(small_disk / "a", b"0" * (30 * 2**20))
    assert [(each.name, each.read_text()) for each in small_disk.iterdir()] == [("a", "before")]


def use(paths: DataPaths, *, deletes: bool = False) -> None:
    """Searches from another process, which may delete the corpus then."""
    (ended,) = run_forked((store_tasks.use, (paths, deletes)))
    assert ended.code == 0, ended.said


@pytest.mark.parametrize("searched_before", [True, False])
def test_what_is_there_is_read_on_a_full_disk_and_on_one_that_cannot_be_written_and_a_deletion_frees(
    small_disk: Path, tmp_path: Path, searched_before: bool
) -> None:
    paths = DataPaths(small_disk / "data")
    assert add_in_a_child(paths, write(tmp_path / "old.jsonl", 300)).code == 0
    if searched_before:
        use(paths)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    use(paths)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with pytest.raises(OSError, match="No space"), (small_disk / "films").open("wb") as films:
        while True:
            films.write(b"0" * 4096)
            films.flush()
    use(paths)
    use(paths, deletes=True)
