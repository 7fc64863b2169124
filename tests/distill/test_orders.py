"""Where a run's orders come from, beside its LLM: people, and passages known to answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_encoders import tiny_transformer

from distill.jsonl import read_records
from distill.labelling import make_candidates, make_questions, orders
from distill.run import WITHOUT_LLM, Distillation, RunConfig
from indexes.encoders import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

TEXTS = {"cats": "cats purr", "dogs": "dogs bark", "bread": "bread is baked of flour", "mars": "the planet mars"}


@pytest.fixture
def corpus(paths: DataPaths, tmp_path: Path) -> DataPaths:
    """A data folder with four documents."""
    tiny_transformer(tmp_path).save_pretrained(str(paths.encoder("tiny")), create_model_card=False)
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in TEXTS.items()))
    for _ in add_files(paths, "words", [file], load_encoder("tiny", paths)):
        pass
    return paths


def begun(paths: DataPaths, folder: Path, name: str, **settings: str) -> Distillation:
    """A run without an LLM over three questions, the last of them held out, with its candidates."""
    questions = folder / "questions.jsonl"
    asked = [("q1", "who purr", ["cats"], "train"), ("q2", "what bark", [], "train"), ("q3", "where", ["mars"], "dev")]
    records = [dict(zip(("id", "question", "positives", "split"), each, strict=True)) for each in asked]
    questions.write_text("".join(json.dumps(record) + "\n" for record in records))
    config = RunConfig(
        name=name,
        corpus="words",
        base="tiny",
        questions=str(questions),
        teacher=WITHOUT_LLM,
        n_candidates=2,
        **settings,
    )
    run = Distillation(paths, config, _nobody, lambda event: None)
    make_questions(run)
    make_candidates(run)
    return run


def _nobody(temperature: float) -> None:
    raise AssertionError("No LLM is to be asked.")


def test_without_a_teacher_there_is_no_order(corpus: DataPaths, tmp_path: Path) -> None:
    assert orders(begun(corpus, tmp_path, "free")) == {}


def test_a_passage_known_to_answer_teaches_without_an_llm(corpus: DataPaths, tmp_path: Path) -> None:
    run = begun(corpus, tmp_path, "labelled", positives="first")
    candidates = {record["id"]: record["candidates"] for record in read_records(run.file("candidates.jsonl"))}
    cats = next(each["passage"] for each in candidates["q1"] if each["document"] == "cats")
    assert cats in [each["passage"] for each in candidates["q1"][:2]], "BM25 finds it by its word"
    (found,) = orders(run).values()
    assert (found["id"], found["ranking"], found["weight"]) == ("q1", [cats], 1.0)
    assert found["shown"] == [each["passage"] for each in candidates["q1"][:2]], "no more than a teacher is shown"


def test_people_are_heard_without_an_llm(corpus: DataPaths, tmp_path: Path) -> None:
    candidates = read_records(begun(corpus, tmp_path, "free").file("candidates.jsonl"))
    best = [each["passage"] for each in candidates[1]["candidates"][:2]][::-1]
    votes = tmp_path / "votes.jsonl"
    votes.write_text(json.dumps({"question": "What bark?", "ranking": best}) + "\n")
    found = orders(begun(corpus, tmp_path, "voted", votes=str(votes)))
    assert [each["ranking"] for each in found.values()] == [best]
