"""A run trains the free control beside what orders teach; held-out orders judge where there are no labels."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_encoders import tiny_transformer

from distill.json_files import read_records
from distill.llm.calls import Asker
from distill.pipeline import run_distillation
from distill.run import Distillation, Event
from distill.run_config import FROM_FILE, WITHOUT_LLM, RunConfig
from distill.stages.labelling import kept_out, orders
from distill.stages.training import control_of
from distill.verdict.promotion import promote, promoted
from distill.verdict.report import Metrics
from indexes.corpus import Corpus
from indexes.encoders.loading import load_encoder
from indexes.errors import InputError
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

TOPICS = ("cats", "dogs", "bread", "flour", "mars", "moons")
SAID = ("purr", "bark", "baked", "planet")
ASKED = [
    f"{w} is {v} the {said} {t}"
    for w in ("what", "who", "where")
    for v in ("and", "of")
    for said in SAID
    for t in TOPICS
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """A corpus of 24 short documents and a tiny encoder, with an index by it."""
    folder = tmp_path_factory.mktemp("control")
    paths = DataPaths(folder / "data")
    tiny_transformer(folder)
    paths.encoders.mkdir(parents=True)
    (folder / "model").rename(paths.encoder("tiny"))
    documents = [{"id": f"{t}-{s}", "title": "", "text": f"the {t} {s} and {t}"} for t in TOPICS for s in SAID]
    file = write(folder / "corpus.jsonl", documents)
    for _ in add_files(paths, "words", [file], load_encoder("tiny", paths)):
        pass
    return paths


def write(file: Path, records: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def answer(question: str) -> str:
    """The id of the document that a question is about."""
    *_, said, topic = question.split()
    return f"{topic}-{said}"


def config_of(paths: DataPaths, name: str, *, judged: bool) -> RunConfig:
    """A run over 144 questions, a quarter of them held out, with orders that put the answer first."""
    folder = paths.root
    questions = [
        {"id": f"q{n}", "question": text, "split": "train" if n % 4 else "dev"}
        | ({"positives": [answer(text)]} if judged and not n % 4 else {})
        for n, text in enumerate(ASKED)
    ]
    ids = [f"{t}-{s}" for t, s in itertools.product(TOPICS, SAID)]
    given = [{"id": f"q{n}", "ranking": [answer(text), *ids]} for n, text in enumerate(ASKED)]
    return RunConfig(
        name=name,
        corpus="words",
        base="tiny",
        questions=str(write(folder / f"{name}-questions.jsonl", questions)),
        rankings=str(write(folder / f"{name}-orders.jsonl", given)),
        teacher=FROM_FILE,
        retrieval="dense",
        n_candidates=10,
        train="query",
    )


def no_llm(temperature: float) -> Asker:
    raise AssertionError("no LLM is asked")


def teach(paths: DataPaths, config: RunConfig) -> tuple[Metrics, list[Event]]:
    heard: list[Event] = []
    metrics = run_distillation(paths, config, no_llm, heard.append)
    assert metrics and metrics.verdict
    return metrics, heard


@pytest.fixture(scope="module")
def taught(data: DataPaths) -> tuple[Metrics, list[Event]]:
    return teach(data, config_of(data, "taught", judged=True))


def test_the_verdict_has_a_row_for_all_that_is_free(taught: tuple[Metrics, list[Event]]) -> None:
    metrics, _ = taught
    rows = metrics.rows
    assert (rows.base, rows.weighted, rows.control, rows.taught) == (
        "tiny",
        "weighted(tiny)",
        "taught-free",
        "taught",
    )
    named = {*(getattr(rows, row) for row in ("base", "weighted", "control", "taught"))}
    assert set(metrics.retrievers) == named | {f"fused({name})" for name in named} | {
        "lexical",
        "reranked(fused(tiny))",
        "reranked(fused(taught))",
    }
    verdict = metrics.verdict
    assert (verdict.n_questions, verdict.judged_by, verdict.look) == (36, "questions", 1)
    assert verdict.gain and verdict.gain.best_free in ("tiny", "weighted(tiny)", "taught-free")
    assert "the orders given account for" in verdict.sentence


def test_the_control_shares_the_passages_of_what_it_began_with(
    data: DataPaths, taught: tuple[Metrics, list[Event]]
) -> None:
    fingerprints = {info.encoder: info.fingerprint for info in Corpus.open(data, "words").indexes()}
    assert fingerprints["taught-free"] == fingerprints["taught"] != fingerprints["tiny"]
    embedded = [
        event for event in taught[1] if event.stage == "control" and "embedding" in event.remark and event.total
    ]
    assert not embedded


def test_the_control_is_an_encoder_like_any_other_and_says_what_taught_it(
    data: DataPaths, taught: tuple[Metrics, list[Event]]
) -> None:
    card = (data.encoder("taught-free") / "README.md").read_text(encoding="utf-8")
    assert "# taught-free" in card and "taught without an LLM" in card and "| teacher | none |" in card
    index = PassageIndex.open(data, "words", load_encoder("taught-free", data))
    assert len(index.search("what is the cats", 3)) == 3
    before = promoted(data, "words")
    promote(data, "words", "taught-free", run="")
    assert promoted(data, "words") == "taught-free"
    assert before in (None, taught[0].verdict.encoder)


def test_a_run_beside_an_encoder_of_the_controls_name_is_refused(
    data: DataPaths, taught: tuple[Metrics, list[Event]]
) -> None:
    config = config_of(data, "other", judged=True)
    data.encoder("other-free").mkdir()
    with pytest.raises(InputError, match="an encoder 'other-free' already"):
        Distillation(data, config, no_llm, lambda event: None)
    data.encoder("other-free").rmdir()


def test_without_answers_held_out_orders_judge_and_train_nothing(data: DataPaths) -> None:
    config = config_of(data, "unjudged", judged=False)
    metrics, _ = teach(data, config)
    run = Distillation(data, config, no_llm, lambda event: None)
    apart = kept_out(run)
    assert len(apart) == 30 and control_of(run) == "unjudged-free"
    assert not apart & orders(run).keys() and len(orders(run)) == 108 - 30
    trained = {name: read_records(run.file(f"{name}.jsonl"), dict) for name in ("rankings", "scores")}
    assert apart < {record["id"] for record in trained["rankings"]}
    assert metrics.retriever.n_train == 108 - 30
    assert metrics.control.n_train == 108 - 30
    assert metrics.questions == 30 and set(metrics.retrievers) >= {"tiny", "unjudged", "unjudged-free"}
    verdict = metrics.verdict
    assert (verdict.judged_by, verdict.promoted, verdict.encoder) == ("orders", False, "")
    assert "By the teacher's own word" in verdict.sentence
    assert "30 held-out questions, judged by the teacher's own orders" in run.file("report.md").read_text("utf-8")
    assert not data.looks.is_file() or run.digest not in data.looks.read_text("utf-8"), "no label was looked at"


def test_a_run_that_asks_nobody_is_the_free_one_and_has_no_control(data: DataPaths) -> None:
    config = replace(config_of(data, "free", judged=True), teacher=WITHOUT_LLM, rankings="")
    metrics, heard = teach(data, config)
    assert not data.encoder("free-free").exists()
    assert (metrics.rows.control, metrics.rows.taught) == ("free", "")
    assert not metrics.control.n_train
    assert "without an LLM" in metrics.verdict.sentence
    assert metrics.verdict.promoted == (metrics.verdict.encoder == "free")
    assert "index" in {event.stage for event in heard}


def test_the_control_can_be_left_out(data: DataPaths) -> None:
    metrics, _ = teach(data, replace(config_of(data, "alone", judged=True), control=False, passage_weights="none"))
    assert not data.encoder("alone-free").exists()
    assert (metrics.rows.control, metrics.rows.weighted) == ("", "")
    assert "what of that needs no LLM was not measured" in metrics.verdict.sentence
