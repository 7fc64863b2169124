"""Work that goes on behind the page, and which LLM answers and teaches: the one of the start, or another."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint

from app.demo import DEMO_CORPUS
from app.handlers.buttons import BUSY_S, IDLE_S, LLMView, choose_llm, show_background
from app.workbench import Background, OnStage, Reader, Stage, Work, Workbench, prepare_corpus
from distill.llm.connection import LLMConfig
from indexes.corpus import list_corpora
from indexes.errors import InputError, StoreError
from indexes.ingest import delete_corpus
from indexes.paths import DataPaths

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
    work = partial(prepare_corpus, bench.paths, bench.retrievers, "keywords", write_corpus)
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
    work = partial(prepare_corpus, bench.paths, bench.retrievers, "keywords", write_corpus)
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
    run_to_end(partial(prepare_corpus, bench.paths, bench.retrievers, "keywords", None))
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


KEY = "sk-typed-on-the-page"


@pytest.fixture
def other() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda messages: "OK") as other:
        yield other


def choose(bench: Workbench, kind: str, url: str = "", key: str = KEY, who: str | None = None) -> LLMView:
    *_, last = choose_llm(bench, kind, url, "scripted", key, who)
    return last


def test_what_was_chosen_answers_with_its_own_key_and_neither_is_on_disk(
    bench: Workbench, endpoint: ScriptedEndpoint, other: ScriptedEndpoint
) -> None:
    bench = replace(bench, operator="")
    chosen = choose(bench, "endpoint", other.base_url)
    assert ("answers and teaches" in chosen.said, chosen.key) == (True, ""), chosen.said
    assert chosen.box["label"] == f"LLM: {bench.reader.name}" and bench.reader.name.startswith("scripted at 127.0.0.1")
    assert chosen.teacher["value"] == "page"
    bench.reader.connect(lambda status: None).invoke("Why?")
    assert [request.key for request in other.requests] == [KEY, KEY]
    assert not endpoint.requests
    assert KEY not in repr(bench.llm) + str(chosen)
    assert not any(KEY.encode() in file.read_bytes() for file in bench.paths.root.rglob("*") if file.is_file())
    choose(bench, "endpoint", other.base_url, key="")
    assert other.requests[-1].key != "a-key", "the page's key is sent where somebody typed an address"
    choose(bench, "first")
    bench.reader.connect(lambda status: None).invoke("Why?")
    assert [request.key for request in endpoint.requests] == ["a-key"]


def test_one_that_does_not_answer_is_not_taken(bench: Workbench, other: ScriptedEndpoint) -> None:
    bench, before = replace(bench, operator=""), bench.llm
    other.fail(401)
    said = choose(bench, "endpoint", other.base_url).said
    assert 'role="alert"' in said and KEY not in said
    assert bench.llm == before


@pytest.mark.parametrize(
    ("operator", "who", "is_taken"),
    [("", None, True), ("ann", "ann", True), ("ann", "bob", False), (None, None, False)],
)
def test_only_who_runs_the_page_chooses(
    bench: Workbench, operator: str | None, who: str | None, is_taken: bool
) -> None:
    said = choose(replace(bench, operator=operator), "embedded", who=who).said
    assert (bench.llm.is_embedded, "Only whoever runs" in said) == (is_taken, not is_taken)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://llm.example/v1", ""),
        ("https://llm.example/v1/deeper", ""),
        ("https://llm.example/v1evil", "does not ask"),
        ("https://llm.example.evil/v1", "does not ask"),
        ("http://llm.example/v1", "does not ask"),
        ("http://169.254.169.254/latest", "does not ask"),
        ("http://localhost:8000/v1", "APP_ENDPOINTS=http://localhost:8000/v1"),
        ("file:///etc/passwd", "has to be whole"),
        ("https://key@llm.example/v1", "has to be whole"),
        ("https://[", "has to be whole"),
    ],
)
def test_where_others_visit_only_named_addresses_are_asked(paths: DataPaths, url: str, sentence: str) -> None:
    reader = Reader(LLMConfig(), paths, endpoints=["https://llm.example/v1"])
    with nullcontext() if not sentence else pytest.raises(InputError, match=sentence):
        reader._endpoint_at(url, "m", "")
