"""Work that goes on behind the page: seen, interruptible, and gone on with at the next start."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.demo import DEMO_CORPUS
from app.handlers.buttons import BUSY_S, IDLE_S, show_background
from app.workbench import Background, OnStage, Stage, Work, Workbench, prepare_corpus
from indexes.corpus import list_corpora
from indexes.errors import StoreError
from indexes.ingest import delete_corpus

pytestmark = pytest.mark.slow

DEADLINE_S = 120
N_DOCUMENTS = 3000  # more than the batches that are on their way when it is stopped


def write_corpus(file: Path) -> None:
    lines = [json.dumps({"id": f"name{n}", "text": f"What name number {n} is for."}) for n in range(N_DOCUMENTS)]
    file.write_text("\n".join(lines), encoding="utf-8")


def run_to_end(work: Work) -> tuple[Background, list[Stage]]:
    stages: list[Stage] = []
    background = Background({"Work": work}, stages.append)
    background.start()
    for thread in threading.enumerate():
        if thread.name == "Work":
            thread.join(DEADLINE_S)
    return background, stages


def test_the_demonstration_corpus_is_indexed_once(bench: Workbench) -> None:
    work = prepare_corpus(bench.paths, bench.retrievers, "keywords", write_corpus)
    background, stages = run_to_end(work)
    (corpus,) = list_corpora(bench.paths)
    assert (corpus.name, background.is_busy) == (DEMO_CORPUS, False)
    assert corpus.indexes[0].n_passages == corpus.n_passages == N_DOCUMENTS
    assert any(stage.total == corpus.n_passages for stage in stages)
    delete_corpus(bench.paths, DEMO_CORPUS)
    run_to_end(work)
    assert list_corpora(bench.paths) == [], "a deleted demonstration corpus came back"


def test_an_interrupted_demonstration_corpus_is_gone_on_with(bench: Workbench) -> None:
    embedding = threading.Event()
    work = prepare_corpus(bench.paths, bench.retrievers, "keywords", write_corpus)
    background = Background({"Work": work}, lambda stage: embedding.set() if stage.done else None)
    background.start()
    assert embedding.wait(DEADLINE_S)
    background.stop()
    assert list_corpora(bench.paths)[0].indexes == ()
    _, stages = run_to_end(work)
    (corpus,) = list_corpora(bench.paths)
    assert corpus.indexes[0].n_passages == corpus.n_passages
    assert max(stage.total for stage in stages) < corpus.n_passages, "passages were embedded twice"


def test_without_a_demonstration_nothing_is_indexed(bench: Workbench) -> None:
    run_to_end(prepare_corpus(bench.paths, bench.retrievers, "keywords", None))
    assert list_corpora(bench.paths) == []


@pytest.mark.parametrize(
    ("error", "shown"), [(StoreError("The disk is full."), "The disk is full."), (KeyError("x"), "the terminal")]
)
def test_a_failure_is_shown_on_the_page(bench: Workbench, error: Exception, shown: str) -> None:
    def work(on_stage: OnStage, stopped: Callable[[], bool]) -> None:
        raise error

    background, _ = run_to_end(work)
    view = show_background(replace(bench, background=background), seen=0)
    assert shown in view.banner["value"]
    assert view.banner["visible"] is True
    assert view.timer["value"] == IDLE_S


def test_the_page_looks_again_when_something_has_ended(bench: Workbench) -> None:
    go = threading.Event()

    def work(on_stage: OnStage, stopped: Callable[[], bool]) -> None:
        on_stage(Stage(message="Indexing", done=1, total=4))
        go.wait(DEADLINE_S)

    background = Background({"Work": work}, lambda stage: None)
    background.start()
    during = show_background(replace(bench, background=background), seen=0)
    go.set()
    background.stop()
    after = show_background(replace(bench, background=background), seen=0)
    opened_later = show_background(replace(bench, background=background), seen=None)
    assert (during.timer["value"], isinstance(during.finished, int)) == (BUSY_S, False)
    assert (after.timer["value"], after.finished, after.banner["visible"]) == (IDLE_S, 1, False)
    assert not isinstance(opened_later.finished, int)  # every tab would look again for nothing
    idle = show_background(replace(bench, background=background), seen=opened_later.seen)
    assert not isinstance(idle.finished, int)
