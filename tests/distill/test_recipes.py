"""The whole command over a tiny corpus and encoder, once for each way to teach; the report says which it was."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_endpoint import ScriptedEndpoint
from typer.testing import CliRunner
from worth_lesson import QUESTIONS, config_of, worth

from distill.__main__ import app
from distill.json_files import parsed, read_json, read_records
from distill.llm.calls import Asker
from distill.pipeline import run_distillation
from distill.ranker.ranker import LateInteractionRanker
from distill.records import Ranking, ScoreList
from distill.retriever.evidence import Evidence
from distill.retriever.lists import by_evidence
from distill.run import Distillation
from distill.run_config import FROM_FILE
from distill.run_folder import EVIDENCE, FIRST_SCORES, SCORES
from distill.stages.labelling import all_candidates
from distill.stages.labelling import orders as labelled
from distill.stages.training import base_model, make_targets
from indexes.corpus import Corpus
from indexes.encoders.loading import load_encoder
from indexes.paths import DataPaths

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def no_llm(temperature: float) -> Asker:
    raise AssertionError("no LLM is asked")


def taught_by(
    paths: DataPaths, worth_questions: Path, base_url: str, *options: str | Path
) -> tuple[dict[str, Any], str]:
    """The metrics and the report of a run with `options`."""
    environment = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sk-test", "LLM_MODEL": "scripted", "ENCODER": "tiny"}
    command = ["run", "worths", "--name", "run", "--questions", worth_questions, "--n-candidates", "4", "--json"]
    settings = worth_questions.with_name("settings.toml")
    settings.write_text("insist = true", encoding="utf-8")  # the worth of a passage is no answer, as the probes find
    command += ["--data-dir", paths.root, "--config", settings, *options]
    done = CliRunner().invoke(app, [str(each) for each in command], env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), (paths.run("run") / "report.md").read_text(encoding="utf-8")


def test_the_papers_recipe_learns_from_the_orders_and_from_the_rankers_scores_alone(
    paths: DataPaths, worth_questions: Path, ranking_endpoint: ScriptedEndpoint
) -> None:
    metrics, report = taught_by(paths, worth_questions, ranking_endpoint.base_url, "--recipe", "paper", "--no-control")
    assert "Trained by the recipe paper, both sides, on 6 lists." in report
    assert (metrics["ranker"]["loss"], metrics["ranker"]["kept"]) == ("list_mle", "trained")
    assert metrics["evidence"] == {}
    folder = paths.run("run")
    scores, targets = (read_records(folder / f"{name}.jsonl", ScoreList) for name in ("scores", "targets"))
    assert targets == scores
    head = json.loads((folder / "ranker" / "head.json").read_text(encoding="utf-8"))
    assert (head["dense"], head["lexical"]) == (0, 0)


def test_where_only_questions_learn_the_passages_move_by_their_rare_words_alone(
    paths: DataPaths, worth_questions: Path, ranking_endpoint: ScriptedEndpoint
) -> None:
    metrics, report = taught_by(paths, worth_questions, ranking_endpoint.base_url, "--train", "query")
    assert "Trained by the recipe auto, the side of the questions" in report
    assert paths.encoder("run-free").is_dir() and metrics["rows"]["control"] == "run-free"
    fingerprints = {info.encoder: info.fingerprint for info in Corpus.open(paths, "worths").indexes()}
    assert fingerprints["run"] == fingerprints["run-free"] != fingerprints["tiny"]


def test_without_a_teacher_nobody_is_asked_and_the_ranker_teaches_as_it_began(
    paths: DataPaths, worth_questions: Path
) -> None:
    metrics, report = taught_by(paths, worth_questions, "http://127.0.0.1:9/v1", "--teacher", "none")
    assert "No LLM was asked for orders" in report
    assert not metrics["spend"]["calls"] and metrics["ranker"]["kept"] == "untrained"
    assert not paths.encoder("run-free").exists(), "it is the free one itself"
    taught, base = (load_encoder(name, paths) for name in ("run", "tiny"))
    assert taught.fingerprint != base.fingerprint


def test_orders_of_a_gzipped_file_teach_in_place_of_an_llm(
    paths: DataPaths, worth_questions: Path, tmp_path: Path
) -> None:
    documents = {passage.document_id: passage.text for passage in Corpus.open(paths, "worths").passages()}
    best_first = sorted(documents, key=lambda each: -worth(documents[each]))
    lines = [json.dumps({"id": f"q{n}", "ranking": best_first}) for n in range(len(QUESTIONS))]
    orders = tmp_path / "orders.jsonl.gz"
    orders.write_bytes(gzip.compress("\n".join(lines).encode()))
    metrics, report = taught_by(paths, worth_questions, "http://127.0.0.1:9/v1", "--rankings", orders)
    assert f"The teacher is {orders}" in report.replace("\\", "")
    assert (metrics["config"]["teacher"], metrics["spend"]["calls"]) == ("file", 0)
    texts = {passage.id: passage.text for passage in Corpus.open(paths, "worths").passages()}
    for record in read_records(paths.run("run") / "rankings.jsonl", Ranking):
        assert record.ranking == tuple(sorted(record.shown, key=lambda each: -worth(texts[each])))
    assert metrics["retriever"]["n_train"] == len(QUESTIONS)


def test_orders_are_held_against_the_ranker_as_it_began_and_the_trained_one_fills_in(
    paths: DataPaths, worth_questions: Path, tmp_path: Path
) -> None:
    """The free control learns what the ranker said before it had heard an order."""
    documents = {passage.document_id: passage.text for passage in Corpus.open(paths, "worths").passages()}
    best_first = sorted(documents, key=lambda each: -worth(documents[each]))
    orders = tmp_path / "orders.jsonl"
    orders.write_text("".join(json.dumps({"id": f"q{n}", "ranking": best_first}) + "\n" for n in range(3)))
    config = config_of(worth_questions, teacher=FROM_FILE, rankings=str(orders), recipe="paper")
    run_distillation(paths, config, no_llm, lambda event: None, until="scores")  # this one is trained in any case
    run = Distillation(paths, config, no_llm, lambda event: None)
    names = (SCORES, FIRST_SCORES)
    trained, before = ({r.id: r for r in read_records(run.file(name), ScoreList)} for name in names)
    began = LateInteractionRanker.from_encoder(base_model(run).model).score(all_candidates(run), run.texts)
    assert [list(each.scores) for each in before.values()] == [pytest.approx(each, abs=1e-4) for each in began]
    assert all(trained[each].scores != before[each].scores for each in trained)
    run.config = replace(config, recipe="auto")
    targets = {target.id: target for target in make_targets(run)}
    evidence = parsed(Evidence, read_json(run.file(EVIDENCE)))
    expected = by_evidence(list(before.values()), labelled(run), evidence, list(trained.values()))
    assert targets == {each.id: each for each in expected} and len(targets) == 6
    assert [each for each in targets if targets[each] == trained[each]] == ["q3", "q4", "q5"]
