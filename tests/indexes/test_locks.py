"""One writer at a time, and a sentence for everyone else."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.errors import BusyError
from indexes.ingest import add_files, delete_corpus, remove_sources
from indexes.locks import is_being_written, writing
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from pathlib import Path
from indexes.locks import writing
from indexes.paths import DataPaths
with writing(DataPaths(Path(sys.argv[1])), sys.argv[2], f"adding files to corpus '{sys.argv[2]}'"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_process(paths: DataPaths) -> Iterator[subprocess.Popen[str]]:
    """A process that writes corpus 'pets' until its stdin is closed."""
    command = [sys.executable, "-c", HOLD, str(paths.root), "pets"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_gets_a_sentence_that_names_the_first(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path, other_process: subprocess.Popen[str]
) -> None:
    (tmp_path / "cats.txt").write_text("Cats purr.")
    with pytest.raises(BusyError, match=rf"process {other_process.pid} \(adding files to corpus 'pets', since \d"):
        list(add_files(paths, "pets", [tmp_path / "cats.txt"], encoder))
    assert encoder.n_encoded_passages == 0


def test_another_corpus_is_written_at_the_same_time(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path, other_process: subprocess.Popen[str]
) -> None:
    (tmp_path / "cats.txt").write_text("Cats purr.")
    list(add_files(paths, "other", [tmp_path / "cats.txt"], encoder))
    assert is_being_written(paths, "pets")
    assert PassageIndex.open(paths, "other", encoder).n_passages == 1


def test_a_writer_that_was_killed_holds_nothing(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path, other_process: subprocess.Popen[str]
) -> None:
    (tmp_path / "cats.txt").write_text("Cats purr.")
    assert is_being_written(paths, "pets")
    other_process.kill()
    other_process.wait()
    list(add_files(paths, "pets", [tmp_path / "cats.txt"], encoder))
    assert PassageIndex.open(paths, "pets", encoder).n_passages == 1
    assert not is_being_written(paths, "pets")


def test_who_waits_says_so_once_and_goes_on_when_the_other_has_ended(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path, other_process: subprocess.Popen[str]
) -> None:
    (tmp_path / "cats.txt").write_text("Cats purr.")
    told: list[str] = []

    def on_wait(sentence: str) -> None:
        told.append(sentence)
        assert other_process.stdin is not None
        other_process.stdin.close()

    list(add_files(paths, "pets", [tmp_path / "cats.txt"], encoder, wait_s=60, on_wait=on_wait))
    assert len(told) == 1
    assert f"process {other_process.pid}" in told[0]
    assert PassageIndex.open(paths, "pets", encoder).n_passages == 1


def test_threads_of_one_process_write_two_corpora_at_once_but_not_one(paths: DataPaths) -> None:
    """The page indexes its demonstration while a person adds files of another corpus."""
    with writing(paths, "one", "adding"):
        with writing(paths, "two", "adding"):
            pass
        with pytest.raises(BusyError, match="another part of this program"), writing(paths, "one", "adding"):
            pass
    with writing(paths, "one", "adding"):
        pass


def test_an_add_that_is_given_up_halfway_holds_nothing(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    (tmp_path / "cats.txt").write_text("Cats purr.")
    for _ in add_files(paths, "pets", [tmp_path / "cats.txt"], encoder):
        break
    list(add_files(paths, "pets", [tmp_path / "cats.txt"], encoder))
    remove_sources(paths, "pets", ["cats.txt"])
    delete_corpus(paths, "pets")


def test_readers_go_on_while_another_thread_writes(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"{n}.txt").write_text(f"Fact number {n} about cats.")
    list(add_files(paths, "pets", [tmp_path / "0.txt"], encoder))
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                assert PassageIndex.open(paths, "pets", encoder).search("fact cats")
            except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                failures.append(error)
                return
            time.sleep(0.01)

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(1, 30, 6):
        list(add_files(paths, "pets", [tmp_path / f"{m}.txt" for m in range(n, min(n + 6, 30))], KeywordEncoder()))
    done.set()
    reader.join()
    assert failures == []
    assert PassageIndex.open(paths, "pets", encoder).n_passages == 30
