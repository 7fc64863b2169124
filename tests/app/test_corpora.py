"""What the Corpora tab shows, step by step, with a fake encoder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from app.handlers import corpora
from app.handlers.buttons import BUSY_S, IDLE_S, dismiss, show_background
from app.handlers.corpora import CorporaView
from app.retriever import Retrievers
from app.workbench import Background, Stage, Uploads, Workbench
from indexes.corpus import Corpus, list_corpora
from indexes.ingest import delete_corpus
from indexes.paths import DataPaths

WriteFiles = Callable[[dict[str, str]], list[str]]
Upload = Callable[[list[str], str], CorporaView]


def test_files_are_added_and_each_outcome_is_shown(bench: Workbench, write_files: WriteFiles, upload: Upload) -> None:
    files = write_files({"good.txt": "Some text about bees.", "empty.txt": "", "<b>x.txt": "More text."})
    view = upload(files, " garden ")
    assert "2 files of corpus &#x27;garden&#x27;" in view.said
    assert "1 could not be read" in view.said
    assert "The file is empty." in view.outcomes
    assert "&lt;b&gt;x.txt" in view.outcomes
    assert [info.name for info in list_corpora(bench.paths)] == ["garden"]
    assert not any(bench.paths.uploads.iterdir()), "what is in the corpus lies twice on the disk"


def test_adding_the_same_files_again_changes_nothing(
    bench: Workbench, corpus: str, write_files: WriteFiles, upload: Upload
) -> None:
    before = list_corpora(bench.paths)
    files = write_files({"bees.txt": "Honey bees dance to tell the hive where flowers grow."})
    assert "unchanged" in upload(files, corpus).outcomes
    assert list_corpora(bench.paths) == before


@pytest.mark.parametrize(
    ("name", "n_files", "sentence"),
    [("x" * 99, 1, "Shorten"), ("x", 0, "Drop")],
)
def test_an_incomplete_form_gives_a_sentence(
    bench: Workbench, write_files: WriteFiles, name: str | None, n_files: int, sentence: str
) -> None:
    files = write_files({"a.txt": "Text."})[:n_files]
    assert sentence in corpora.add(bench, files, name, "").said
    assert list_corpora(bench.paths) == []


def test_web_pages_are_added_by_their_addresses_private_ones_refused(bench: Workbench, corpus: str) -> None:
    assert "&#x27;example.org&#x27; is no address" in corpora.add(bench, None, corpus, "example.org").said
    assert "Taken over" in corpora.add(bench, None, corpus, "http://127.0.0.1:9/\nhttp://localhost:9/a").said
    while bench.background.is_busy:
        time.sleep(0.01)
    outcomes = corpora.list_corpora_view(bench, corpus).outcomes
    assert outcomes.count("is in a private network") == 2


def test_a_new_corpus_is_named_after_its_first_file_and_looked_at_once_it_is_there(
    bench: Workbench, corpus: str, write_files: WriteFiles
) -> None:
    added = corpora.add(bench, write_files({"garden.txt": "Roses."}), "", "")
    while bench.background.is_busy:
        time.sleep(0.01)
    view = corpora.list_corpora_view(bench, corpus, added.awaited)
    assert (view.corpus["value"], view.ask["visible"], view.awaited) == ("garden", True, "")
    assert "value" not in corpora.list_corpora_view(bench, corpus).corpus, "another visitor is led away"


def test_two_files_of_one_name_are_not_mixed_up(bench: Workbench) -> None:
    assert "&#x27;notes.txt&#x27;" in corpora.add(bench, ["/one/notes.txt", "/two/notes.txt"], "garden", "").said


def test_files_that_are_gone_from_the_server_give_a_sentence(bench: Workbench) -> None:
    assert "Add them again" in corpora.add(bench, ["/one/notes.txt"], "garden", "").said
    assert not any(bench.paths.uploads.iterdir())


def test_files_without_text_make_no_corpus(bench: Workbench, write_files: WriteFiles, upload: Upload) -> None:
    view = upload(write_files({"empty.txt": ""}), "void")
    assert "was not made" in view.said
    assert "The file is empty." in view.outcomes
    assert list_corpora(bench.paths) == []


@pytest.mark.parametrize("how", ["stopped by a person", "page ended"])
def test_an_upload_that_was_broken_off_keeps_what_it_read(bench: Workbench, write_files: WriteFiles, how: str) -> None:
    """A page that ends leaves the files where the next one takes them up; a person who stops it does not want them."""
    files = write_files({f"{n}.txt": f"Text number {n}." for n in range(3)})
    reached, gate = threading.Event(), threading.Event()

    def see(stage: Stage) -> None:
        if stage.done:
            reached.set()
            gate.wait(10)

    first = Background({}, see)
    uploads = Uploads(bench.paths, first, lambda: KeywordEncoder("keywords"))
    uploads.take("garden", [Path(file) for file in files], visitor="one")
    assert reached.wait(10)
    if how == "page ended":
        ending = threading.Thread(target=first.stop)
        ending.start()
    else:
        assert (uploads.stop("another"), uploads.stop("one")) == (0, 1), "somebody else's upload is stopped"
    gate.set()
    while first.is_busy:
        time.sleep(0.01)
    assert uploads.latest is not None
    assert list_corpora(bench.paths)[0].n_sources < 3
    assert not Corpus.open(bench.paths, "garden").indexes()
    second = Background({})
    Uploads(bench.paths, second, lambda: KeywordEncoder("keywords")).resume()
    while second.is_busy:
        time.sleep(0.01)
    assert list_corpora(bench.paths)[0].n_sources == (3 if how == "page ended" else 1)
    assert not any(bench.paths.uploads.iterdir())


def test_an_upload_on_a_full_disk_says_so_and_goes_on_by_itself_once_some_space_is_free(
    bench: Workbench, write_files: WriteFiles, small_disk: Path
) -> None:
    paths = DataPaths(small_disk / "data")
    paths.root.mkdir()
    bench = replace(
        bench, paths=paths, retrievers=Retrievers(paths, "keywords", lambda name, paths: KeywordEncoder(name))
    )
    films = small_disk / "films"
    films.write_bytes(b"0" * (20 * 2**20))
    corpora.add(bench, write_files({"newts.txt": "Newts live in bogs.", "owls.txt": "Owls hunt at night."}), "zoo", "")
    deadline = time.monotonic() + 60
    while "goes on by itself" not in bench.background.stages[0].message:
        assert time.monotonic() < deadline, bench.background.stages
        time.sleep(0.01)
    assert "MiB left" in bench.background.stages[0].message and bench.uploads.latest is None
    with films.open("ab", buffering=0) as film, suppress(OSError):
        while True:
            film.write(b"0" * 4096)
    refused = corpora.add(bench, write_files({"bats.txt": "Bats hear what they hunt."}), "zoo", "")
    assert "could not be taken over" in str(refused.said)
    films.unlink()
    while bench.background.is_busy:
        time.sleep(0.01)
    assert [each.source for each in Corpus.open(paths, "zoo").sources()] == ["newts.txt", "owls.txt"]
    assert list(paths.uploads.iterdir()) == []


def test_the_page_tells_of_an_upload_wherever_it_is_opened(bench: Workbench, write_files: WriteFiles) -> None:
    gate = threading.Event()
    bench = replace(bench, background=Background({}, lambda stage: gate.wait(10) and None))
    idle = show_background(bench, None)
    corpora.add(bench, write_files({"a.txt": "Text."}), "garden", "")
    view = show_background(bench, idle.seen)
    assert (view.timer["value"], view.banner["visible"]) == (BUSY_S, True)
    assert "corpus &#x27;garden&#x27;" in view.banner["value"]
    gate.set()
    while bench.background.is_busy:
        time.sleep(0.01)
    for seen in (view.seen, idle.seen):  # also where all of it went between two slow looks
        ended = show_background(bench, seen)
        assert (ended.timer["value"], ended.banner["visible"]) == (IDLE_S, False)
        assert ended.finished == 1, "what can be picked is not looked at again"


def test_deleting_asks_first_and_then_deletes(bench: Workbench, corpus: str) -> None:
    asked = corpora.ask_to_delete(bench, corpus, ["bees.txt"])
    assert asked.box["visible"] is True
    assert "1 file of" in asked.message
    assert list_corpora(bench.paths)[0].n_sources == 4
    done = corpora.delete(bench, asked.doomed)
    assert "Deleted: 1 file of" in done.message
    assert done.doomed is None
    assert [source.source for source in Corpus.open(bench.paths, corpus).sources()] == [
        "bread.txt",
        "glass.txt",
        "tides.txt",
    ]


def test_a_whole_corpus_is_deleted_after_its_size_was_said(bench: Workbench, corpus: str) -> None:
    asked = corpora.ask_to_delete(bench, corpus, [])
    assert "4 documents" in asked.message
    corpora.delete(bench, asked.doomed)
    assert list_corpora(bench.paths) == []


def test_keeping_deletes_nothing(bench: Workbench, corpus: str) -> None:
    assert dismiss().doomed is None
    corpora.delete(bench, None)
    assert list_corpora(bench.paths)[0].name == corpus


def test_deleting_what_is_gone_gives_a_sentence(bench: Workbench, corpus: str) -> None:
    asked = corpora.ask_to_delete(bench, corpus, [])
    delete_corpus(bench.paths, corpus)
    assert "There is no corpus" in corpora.delete(bench, asked.doomed).message
    assert "There is no corpus" in corpora.ask_to_delete(bench, corpus, []).message
