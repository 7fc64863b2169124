"""A second round: the taught retriever finds again, and the teacher is asked about what it has not seen, once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint
from worth_lesson import begun, config_of, connect_to, worth

from distill.json_files import read_json, read_records
from distill.llm.reply_cache import ReplyCache
from distill.pipeline import run_distillation
from distill.records import Ranking, ScoreList
from distill.run import Event
from distill.run_config import WITHOUT_LLM
from distill.stages.labelling import all_candidates, orders
from distill.teacher.trust import N_PROBES
from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.paths import DataPaths

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


class KilledError(Exception):
    """What ends a run in the middle."""


def test_a_second_round_asks_about_what_is_new_beside_the_best_and_its_orders_teach(
    paths: DataPaths, worth_questions: Path, ranking_endpoint: ScriptedEndpoint
) -> None:
    config = config_of(worth_questions, rounds=2, retrieval="dense", insist=True)
    run_distillation(paths, config, connect_to(ranking_endpoint.base_url, paths), lambda event: None, until="index")
    run = begun(paths, worth_questions, ranking_endpoint.base_url, rounds=2, retrieval="dense", insist=True)
    first = {r.id: r for r in read_records(run.file("rankings.jsonl"), Ranking)}
    second = {r.id: r for r in read_records(run.file("rankings-2.jsonl"), Ranking)}
    assert set(first) == set(second) == {f"q{n}" for n in range(6)}
    for identifier, order in second.items():
        assert set(order.shown) & set(first[identifier].shown) == {first[identifier].ranking[0]}
        assert len(order.shown) == 4
    for identifier, order in orders(run).items():
        shown = {*first[identifier].shown, *second[identifier].shown}
        assert set(order.shown) == shown
        assert order.ranking[0] == max(shown, key=lambda passage: worth(run.texts[passage]))
    for record in all_candidates(run):
        shown = {*first[record.id].shown, *second[record.id].shown}
        assert {c.passage for c in record.candidates[: record.n_shown]} == shown
    scored = {r.id: r.passages for r in read_records(run.file("scores.jsonl"), ScoreList)}
    assert all(set(second[each].shown) <= set(passages) for each, passages in scored.items())
    assert (run.file("round-1") / "encoder" / "modules.json").is_file()
    assert paths.encoder("run").is_dir()
    accounts = read_json(run.file("rounds.json"))["rounds"]
    assert [each["calls"] for each in accounts] == [len(first), len(second)]
    assert accounts[1]["best_changed"] == sum(
        order.ranking[0] != first[identifier].ranking[0] for identifier, order in second.items()
    )


@pytest.mark.parametrize("at", [("ranker", 1), ("retriever", 1), ("rankings", 10)])
def test_a_run_that_was_killed_in_a_round_goes_on_and_pays_no_reply_twice(
    paths: DataPaths, worth_questions: Path, ranking_endpoint: ScriptedEndpoint, at: tuple[str, int]
) -> None:
    """One request is at the LLM at a time; what another retriever would find anew would be asked about anew."""
    heard: list[str] = []

    def report(event: Event) -> None:
        heard.append(event.stage)
        if event.stage == at[0] and heard.count(event.stage) == at[1]:
            raise KilledError

    config = config_of(worth_questions, rounds=2, retrieval="dense")
    connect = connect_to(ranking_endpoint.base_url, paths, ReplyCache(paths.llm_cache))
    with pytest.raises(KilledError):
        run_distillation(paths, config, connect, report, until="scores")
    run_distillation(paths, config, connect, lambda event: None, until="scores")
    n_assessing, n_first, n_second = 12 + N_PROBES, 6, 6
    n_under_way = 1  # at the kill; it may have been sent
    assert len(ranking_endpoint.requests) <= n_assessing + n_first + n_second + n_under_way
    assert len(read_records(paths.run("run") / "rankings-2.jsonl", Ranking)) == 6


def test_a_second_round_goes_on_from_a_files_orders(
    paths: DataPaths, worth_questions: Path, ranking_endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    file = tmp_path / "orders.jsonl"
    lines = [{"id": f"q{n}", "ranking": ["d6", "d0"], "shown": ["d0", "d6", "d1"]} for n in range(6)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = config_of(worth_questions, rounds=2, teacher="file", rankings=str(file))
    run_distillation(paths, config, connect_to(ranking_endpoint.base_url, paths), lambda event: None, until="ranker")
    assert len(ranking_endpoint.requests) == 6
    passages = {p.id: p.document_id for p in Corpus.open(paths, "worths").passages()}
    for record in read_records(paths.run("run") / "rankings-2.jsonl", Ranking):
        shown = [passages[each] for each in record.shown]
        assert "d6" in shown
        assert not {"d0", "d1"} & set(shown)


def test_a_second_round_without_anyone_to_ask_is_refused(paths: DataPaths, worth_questions: Path) -> None:
    config = config_of(worth_questions, rounds=2, teacher=WITHOUT_LLM)
    with pytest.raises(InputError, match="second round asks the LLM"):
        run_distillation(paths, config, connect_to("http://127.0.0.1:9/v1", paths), lambda event: None)
