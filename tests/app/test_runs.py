"""What the page reads of runs: their verdicts, what they measured and logged, and their end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from finished_runs import METRICS, finished, write

from app.handlers.teach import show_runs
from app.jobs.jobs import Jobs
from app.jobs.runs import (
    Curve,
    RunInfo,
    Verdict,
    bars_of,
    curves_of,
    delete_run,
    list_runs,
    malformed_share,
    verdict_of,
)
from app.plots import bars_html, curves_html
from app.rendering import command_notice_html
from app.tables import figures_html, headline_html, runs_table_html, stages_list_html
from app.workbench import Classroom, Workbench
from distill.verdict.promotion import promote
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths

HOSTILE = "<img src=x onerror=alert(1)>"


def test_earlier_runs_are_listed_with_their_verdicts(bench: Workbench, taught: str) -> None:
    finished(bench.paths)
    promote(bench.paths, "nature", taught, "taught")
    write(bench.paths.run("broken") / "config.json", ["no run"])
    (run,) = list_runs(bench.paths, Jobs(bench.paths))
    assert (run.name, run.state, run.answers_now) == ("taught", "done", True)
    assert run.sentence == "On 200 questions it never saw, nDCG@10 rose."


def test_only_a_retriever_that_was_found_better_is_offered_for_promotion_at_first_sight(
    bench: Workbench, taught: str
) -> None:
    room = Classroom(bench=bench, jobs=Jobs(bench.paths))
    for is_better, expected in ((True, "primary"), (False, "secondary")):
        finished(bench.paths, verdict={"promoted": is_better, "sentence": "It was judged."})
        promote_button = show_runs(room, "nature", "taught", {}).promote
        assert (promote_button["visible"], promote_button["variant"]) == (True, expected)


def test_a_run_is_deleted_with_its_encoder_and_index_unless_it_answers(bench: Workbench, taught: str) -> None:
    from distill.verdict.promotion import rollback
    from indexes.corpus import Corpus

    finished(bench.paths)
    jobs = Jobs(bench.paths)
    promote(bench.paths, "nature", taught, "taught")
    with pytest.raises(InputError, match="Roll it back first"):
        delete_run(bench.paths, jobs, "taught")
    rollback(bench.paths, "nature")
    (bench.paths.graphs / "of-taught").mkdir(parents=True)  # a conversion that no encoder uses any more
    delete_run(bench.paths, jobs, "taught")
    assert list_runs(bench.paths, jobs) == []
    assert [index.encoder for index in Corpus.open(bench.paths, "nature").indexes()] == ["keywords"]
    assert not bench.paths.encoder("taught").exists()
    assert not (bench.paths.graphs / "of-taught").exists()
    with pytest.raises(NotFoundError):
        delete_run(bench.paths, jobs, "taught")


def test_a_run_without_a_verdict_has_none() -> None:
    assert verdict_of({}) is None
    assert verdict_of({"verdict": ["an older form"]}) is None


def test_malformed_replies_are_counted_in_whole_lines(paths: DataPaths) -> None:
    file = write(paths.run("taught") / "rankings.jsonl", {"status": "ok"}, {"status": "partial"})
    with file.open("a", encoding="utf-8") as lines:
        lines.write('{"status": "o')  # being written just now
    assert malformed_share(paths, "taught") == (2, 0.5)
    assert malformed_share(paths, "none") is None


def test_orders_of_a_file_are_never_called_malformed_replies(paths: DataPaths) -> None:
    write(paths.run("taught") / "rankings.jsonl", {"status": "partial"})
    write(paths.run("taught") / "config.json", {"rankings": "/orders.jsonl"})
    assert malformed_share(paths, "taught") == (1, None)
    html = figures_html(malformed_share(paths, "taught"), {}, {})
    assert "Orders" in html and "Malformed" not in html


def test_bars_carry_intervals_where_a_run_kept_them() -> None:
    bars = bars_of(METRICS)
    assert [(bar.label, bar.value, bar.interval) for bar in bars] == [
        ("Baseline", 0.56, (0.5, 0.62)),
        ("Taught", 0.64, (0.58, 0.7)),
        ("BM25", 0.6, None),
    ]
    html = bars_html(bars, 200)
    assert "0.580–0.700" in html
    assert "On 200 held-out questions" in html
    assert bars_html(bars_of({}), 0) == ""


def test_bars_are_named_as_retrievers_are_everywhere_and_those_of_earlier_versions_too() -> None:
    before = ("fused(keywords)", "ranker over fused", "reranked(taught)")
    now = ("fused(keywords)", "reranked(fused(keywords))", "reranked(fused(taught))")
    for keys in (before, now):
        bars = bars_of({"config": METRICS["config"], "retrievers": {key: {"ndcg@10": 0.5} for key in keys}})
        names = [bar.label for bar in bars]
        assert names == ["Baseline + BM25", "Baseline + BM25, re-ranked", "Taught + BM25, re-ranked"]


def test_losses_are_drawn_and_a_resumed_training_draws_no_step_twice(paths: DataPaths) -> None:
    write(
        paths.run("taught") / "retriever-checkpoints" / "losses.jsonl",
        {"step": 0, "steps": 40, "eval_loss": 7.0},  # of an earlier version
        {"step": 10, "steps": 40, "loss": 1.5},
        {"step": 20, "steps": 40, "loss": 9.0},
        {"step": 15, "steps": 40, "loss": 1.2},
        {"step": 20, "steps": 40, "loss": 1.0},
    )
    (curve,) = curves_of(paths, "taught")
    assert curve.trained == ((10, 1.5), (15, 1.2), (20, 1.0))
    assert "divergence" in curve.title
    html = curves_html([curve])
    assert "step 20 of 40" in html
    assert "training <b>1.500 → 1.000</b>" in html


def test_both_trainings_are_drawn_and_one_that_has_logged_nothing_is_not(paths: DataPaths) -> None:
    (paths.run("taught") / "ranker-checkpoints").mkdir(parents=True)
    (paths.run("taught") / "ranker-checkpoints" / "losses.jsonl").touch()
    assert curves_of(paths, "taught") == []
    for stage in ("ranker", "retriever"):
        write(paths.run("taught") / f"{stage}-checkpoints" / "losses.jsonl", {"step": 1, "steps": 4, "loss": 2.0})
    assert [curve.title.split(":")[0] for curve in curves_of(paths, "taught")] == ["Ranker", "Retriever"]


def test_a_flat_or_single_loss_can_be_drawn() -> None:
    for points in (((0.0, 1.0),), ((0.0, 0.0), (1.0, 0.0))):
        html = curves_html([Curve(title="t", trained=points, steps=1)])
        assert "<svg" in html and "nan" not in html and "inf" not in html


def test_hostile_names_and_sentences_are_shown_and_never_run(paths: DataPaths) -> None:
    run = RunInfo(name=HOSTILE, corpus=HOSTILE, state="done", sentence=HOSTILE, answers_now=True, changed_at=0)
    progress = replace(
        Jobs(paths).progress("none"),
        note=HOSTILE,
        stage="rankings",
        stages={"rankings": {"label": HOSTILE, "total": 3}},
    )
    verdict = Verdict(is_better=True, sentence=HOSTILE, advice=(HOSTILE,))
    shown = [
        headline_html(run, verdict),
        headline_html(replace(run, state="failed"), None),
        runs_table_html([run]),
        stages_list_html(progress, "running"),
        figures_html((1, 0.0), {"sentence": HOSTILE, "trust": HOSTILE}, {}),
        command_notice_html(HOSTILE, HOSTILE),
        bars_html(bars_of(METRICS | {"retrievers": {HOSTILE: {"ndcg@10": 0.5}}}), 1),
    ]
    assert not any("<img" in html for html in shown)


def test_advice_speaks_of_the_form_and_not_of_a_commands_options() -> None:
    advice = [{"sentence": "Show the writer real questions.", "option": "--like FILE"}, "Of an older run."]
    found = verdict_of({"verdict": {"sentence": "No gain.", "advice": advice}})
    assert found and found.advice == ("Show the writer real questions.", "Of an older run.")


@pytest.mark.parametrize(
    ("decided", "word"),
    [
        ({"promoted": True, "encoder": "taught"}, "Use it"),
        ({"promoted": True, "encoder": "taught", "on_trial": True}, "On trial"),
        ({"promoted": False, "encoder": "taught-free", "reason": "chance"}, "The free one will do"),
        ({"promoted": False, "encoder": "", "reason": "few"}, "Too few to tell"),
        ({"promoted": False, "encoder": "", "reason": "unjudged"}, "Too few to tell"),
        ({"promoted": False, "encoder": "", "reason": "chance"}, "No clear gain"),
        ({"promoted": True}, "Use it"),
    ],
)
def test_a_verdict_is_headed_by_what_it_decided(decided: dict[str, object], word: str) -> None:
    run = RunInfo(name="taught", corpus="nature", state="done", sentence="", answers_now=False, changed_at=0)
    html = headline_html(run, verdict_of({"verdict": {"sentence": "It was judged."} | decided}))
    assert f"<b>{word}</b> It was judged." in html
