"""What the page reads of runs: their verdicts, what they measured and logged, and their end."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import psutil
import pytest
from click.testing import Result
from finished_runs import METRICS, finished, write
from typer.testing import CliRunner

from app.handlers.teach import promote_run, show_runs, tick
from app.plots import bars_html, bars_of, curves_html
from app.tables import figures_html, headline_html, runs_table_html, stages_list_html
from app.workbench import Workbench
from distill.__main__ import app
from distill.json_files import parsed
from distill.records import Assessment, Spend
from distill.run_folder import (
    Losses,
    RunFolder,
    RunInfo,
    StageProgress,
    delete_run,
    list_runs,
)
from distill.verdict.promotion import Advice, promote, promoted
from distill.verdict.report import Metrics
from distill.verdict.verdict import Verdict
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths
from indexes.processes import birth_of

HOSTILE = "<img src=x onerror=alert(1)>"
A_RUN = parsed(Metrics, METRICS)
DONE = RunInfo(name="taught", corpus="nature", state="done", sentence="", answers_now=False, changed_at=0)


def test_earlier_runs_are_listed_with_their_verdicts(bench: Workbench, taught: str) -> None:
    finished(bench.paths)
    promote(bench.paths, "nature", taught, "taught")
    write(bench.paths.run("broken") / "config.json", ["no run"])
    (run,) = list_runs(bench.paths)
    assert (run.name, run.state, run.answers_now) == ("taught", "done", True)
    assert run.sentence == "On 200 questions it never saw, nDCG@10 rose."


def test_whatever_the_files_of_a_run_say_nothing_of_it_becomes_markup(bench: Workbench, corpus: str) -> None:
    """A folder of runs may come from somebody else: names, teacher, sentences, figures, report and log are hostile."""
    told = {"promoted": True, "sentence": HOSTILE, "advice": [{"sentence": HOSTILE, "option": HOSTILE}]}
    values = {"name": HOSTILE, "corpus": HOSTILE, "base": HOSTILE, "teacher": HOSTILE, "questions": HOSTILE}
    scores = {HOSTILE: {"ndcg@10": 0.5}, "lexical": {HOSTILE: 0.6}}
    finished(bench.paths, HOSTILE, config=values, verdict=told, retrievers=scores, intervals={HOSTILE: [0.1, 0.9]})
    folder = bench.paths.run(HOSTILE)
    write(folder / "config.json", values)
    write(folder / "job.json", values | {"pid": 1, "born": 0.0, "command": [HOSTILE]})
    write(
        folder / "progress.json", {"stages": {HOSTILE: {"done": 1, "total": 2}}, "stage": HOSTILE, "sentence": HOSTILE}
    )
    write(folder / "teacher.json", {"assessment": {"mode": HOSTILE, "sentence": HOSTILE}})
    for file in ("report.md", "job.log"):
        (folder / file).write_text(
            f"# {HOSTILE}\n\n| {HOSTILE} |\n|---|\n| ![a](http://b.example) |\n<script>alert(1)", "utf-8"
        )
    view = show_runs(bench, HOSTILE, {})
    parts = (view.table, view.headline, view.stages, view.figures, view.curves, view.bars, view.report, view.log)
    shown = "".join(part.get("value", "") for part in parts)
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in shown
    assert not re.search(r"<(img|script|iframe|a|form|input|link|meta|object)\b", shown)


def test_only_a_retriever_that_was_found_better_is_offered_for_promotion_at_first_sight(
    bench: Workbench, taught: str
) -> None:
    for is_better, expected in ((True, "primary"), (False, "secondary")):
        finished(bench.paths, verdict={"promoted": is_better, "sentence": "It was judged."})
        promote_button = show_runs(bench, "taught", {}).promote
        assert (promote_button["visible"], promote_button["variant"]) == (True, expected)


def test_a_run_is_deleted_with_its_encoder_and_index_unless_it_answers(bench: Workbench, taught: str) -> None:
    from distill.verdict.promotion import rollback
    from indexes.corpus import Corpus

    finished(bench.paths)
    promote(bench.paths, "nature", taught, "taught")
    with pytest.raises(InputError, match="Roll it back first"):
        delete_run(bench.paths, "taught")
    rollback(bench.paths, "nature")
    (bench.paths.graphs / "of-taught").mkdir(parents=True)  # a conversion that no encoder uses any more
    delete_run(bench.paths, "taught")
    assert list_runs(bench.paths) == []
    assert [index.encoder for index in Corpus.open(bench.paths, "nature").indexes()] == ["keywords"]
    assert not bench.paths.encoder("taught").exists()
    assert not (bench.paths.graphs / "of-taught").exists()
    with pytest.raises(NotFoundError):
        delete_run(bench.paths, "taught")


@pytest.fixture
def going_on(bench: Workbench, taught: str) -> Iterator[Path]:
    """The folder of a run that a process is at."""
    finished(bench.paths)
    folder = bench.paths.run("taught")
    (folder / "metrics.json").unlink()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    begin = {"pid": child.pid, "born": birth_of(child.pid), "stage": "rankings"}
    write(folder / "progress.json", begin | {"stages": {"rankings": {"began": 1, "done": 1, "total": 50}}})
    yield folder
    child.kill()
    child.wait()


def command(paths: DataPaths, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--data-dir", str(paths.root)])


def test_a_command_lists_runs_with_state_teacher_and_verdict(bench: Workbench, taught: str) -> None:
    assert "There is no run yet" in command(bench.paths, "list").output
    finished(bench.paths)
    write(bench.paths.run("asked") / "config.json", {"name": "asked", "corpus": "other", "teacher": "wise"})
    promote(bench.paths, "nature", taught, "taught")
    lines = command(bench.paths, "list").output.splitlines()
    assert sorted(lines) == [
        "asked · corpus other · interrupted · teacher wise",
        "taught (answers now) · corpus nature · done · teacher not known · " + METRICS["verdict"]["sentence"],
    ]
    (found,) = json.loads(command(bench.paths, "list", "other", "--json").output)
    assert (found["name"], found["state"], found["teacher"], found["answers_now"]) == (
        "asked",
        "interrupted",
        "wise",
        False,
    )


def test_a_command_deletes_a_run_that_answers_only_by_force(bench: Workbench, taught: str) -> None:
    finished(bench.paths)
    promote(bench.paths, "nature", taught, "taught")
    refused = command(bench.paths, "delete", "taught").exception
    assert isinstance(refused, InputError) and "With --force" in str(refused)
    assert "is deleted; 0.0 MB of files are free" in command(bench.paths, "delete", "taught", "--force").output
    assert not bench.paths.run("taught").exists() and not bench.paths.encoder("taught").exists()
    gone = command(bench.paths, "delete", "taught").exception
    assert isinstance(gone, NotFoundError) and "there are: none" in str(gone)


def test_a_run_that_goes_on_is_deleted_only_by_force_and_ended_then(bench: Workbench, going_on: Path) -> None:
    assert " · running · " in command(bench.paths, "list").output
    refused = command(bench.paths, "delete", "taught").exception
    assert isinstance(refused, InputError) and "is going on" in str(refused)
    process = RunFolder(going_on).process
    assert process is not None
    command(bench.paths, "delete", "taught", "--force")
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert not going_on.exists()


def test_a_run_without_a_clear_gain_is_promoted_only_once_that_is_said_twice(bench: Workbench, taught: str) -> None:
    finished(bench.paths, verdict={"promoted": False, "sentence": "No clear gain."})
    first = promote_run(bench, "taught", "")
    assert "no clear gain" in first.message
    assert promoted(bench.paths, "nature") is None
    assert "from now on" in promote_run(bench, "taught", first.asked).message
    assert promoted(bench.paths, "nature") == "taught"


def test_a_tick_looks_at_what_goes_on_and_at_no_corpus(bench: Workbench, going_on: Path) -> None:
    """Every visitor's page ticks: opening every corpus each time would slow down who asks."""
    seen = show_runs(bench, "taught", {}).seen
    broken = bench.paths.corpus("broken")
    write(broken / "manifest.sqlite", "no manifest")
    assert tick(bench, "taught", seen).stages == gr.skip()
    progress = json.loads((going_on / "progress.json").read_text())
    write(going_on / "progress.json", progress | {"stages": {"rankings": {"began": 1, "done": 2, "total": 50}}})
    moved = tick(bench, "taught", seen)
    assert "2 of 50" in moved.stages["value"]
    assert moved.table == moved.timer == moved.report == gr.skip()
    shutil.rmtree(broken)
    process = RunFolder(going_on).process
    assert process is not None
    process.kill()
    process.wait()
    ended = tick(bench, "taught", moved.seen)
    assert "cut off before its end" in ended.headline["value"]
    assert ended.timer["active"] is False


def an_order(status: str) -> dict[str, object]:
    return {"id": "q", "ranking": [], "status": status}


def test_malformed_replies_are_counted_in_whole_lines(paths: DataPaths) -> None:
    file = write(paths.run("taught") / "rankings.jsonl", an_order("ok"), an_order("partial"))
    with file.open("a", encoding="utf-8") as lines:
        lines.write('{"status": "o')  # being written just now
    assert RunFolder(paths.run("taught")).orders == (2, 0.5)
    assert RunFolder(paths.run("none")).orders is None


def test_orders_of_a_file_are_never_called_malformed_replies(paths: DataPaths) -> None:
    write(paths.run("taught") / "rankings.jsonl", an_order("partial"))
    write(paths.run("taught") / "config.json", {"name": "taught", "corpus": "c", "rankings": "/orders.jsonl"})
    orders = RunFolder(paths.run("taught")).orders
    assert orders == (1, None)
    html = figures_html(orders, None, Spend())
    assert "Orders" in html and "Malformed" not in html


def test_bars_carry_intervals_where_a_run_kept_them() -> None:
    bars = bars_of(A_RUN)
    assert [(bar.label, bar.value, bar.interval) for bar in bars] == [
        ("Baseline", 0.56, (0.5, 0.62)),
        ("Taught", 0.64, (0.58, 0.7)),
        ("BM25", 0.6, None),
    ]
    html = bars_html(bars, 200)
    assert "0.580–0.700" in html
    assert "On 200 held-out questions" in html
    assert bars_html(bars_of(Metrics()), 0) == ""


def test_bars_are_named_as_retrievers_are_everywhere() -> None:
    keys = ("fused(keywords)", "reranked(fused(keywords))", "reranked(fused(taught))")
    bars = bars_of(replace(A_RUN, retrievers={key: {"ndcg@10": 0.5} for key in keys}))
    assert [bar.label for bar in bars] == ["Baseline + BM25", "Baseline + BM25, re-ranked", "Taught + BM25, re-ranked"]


def test_losses_are_drawn_and_a_resumed_training_draws_no_step_twice(paths: DataPaths) -> None:
    write(
        paths.run("taught") / "retriever-checkpoints" / "losses.jsonl",
        {"step": 10, "steps": 40, "loss": 1.5},
        {"step": 20, "steps": 40, "loss": 9.0},
        {"step": 15, "steps": 40, "loss": 1.2},
        {"step": 20, "steps": 40, "loss": 1.0},
    )
    losses = RunFolder(paths.run("taught")).losses("retriever")
    assert losses and losses.points == ((10, 1.5), (15, 1.2), (20, 1.0))
    html = curves_html({"retriever": losses})
    assert "divergence" in html and "step 20 of 40" in html
    assert "training <b>1.500 → 1.000</b>" in html


def test_both_trainings_are_drawn_and_one_that_has_logged_nothing_is_not(paths: DataPaths) -> None:
    (paths.run("taught") / "ranker-checkpoints").mkdir(parents=True)
    (paths.run("taught") / "ranker-checkpoints" / "losses.jsonl").touch()
    run = RunFolder(paths.run("taught"))
    assert curves_html({"ranker": run.losses("ranker"), "retriever": run.losses("retriever")}) == ""
    for stage in ("ranker", "retriever"):
        write(paths.run("taught") / f"{stage}-checkpoints" / "losses.jsonl", {"step": 1, "steps": 4, "loss": 2.0})
    assert run.losses("ranker") == run.losses("retriever") == Losses(points=((1, 2.0),), steps=4)


def test_a_flat_or_single_loss_can_be_drawn() -> None:
    for points in (((0.0, 1.0),), ((0.0, 0.0), (1.0, 0.0))):
        html = curves_html({"ranker": Losses(points=points, steps=1)})
        assert "<svg" in html and "nan" not in html and "inf" not in html


def test_hostile_names_and_sentences_are_shown_and_never_run(paths: DataPaths) -> None:
    run = RunInfo(name=HOSTILE, corpus=HOSTILE, state="done", sentence=HOSTILE, answers_now=True, changed_at=0)
    progress = replace(
        RunFolder(paths.run("none")).progress,
        note=HOSTILE,
        stage="rankings",
        stages={"rankings": StageProgress(label=HOSTILE, total=3)},
    )
    verdict = Verdict(promoted=True, sentence=HOSTILE, advice=(Advice(sentence=HOSTILE),))
    shown = [
        headline_html(run, verdict),
        headline_html(replace(run, state="failed"), None),
        runs_table_html([run]),
        stages_list_html(progress, "running"),
        figures_html((1, 0.0), Assessment(sentence=HOSTILE), Spend()),
        bars_html(bars_of(replace(A_RUN, retrievers={HOSTILE: {"ndcg@10": 0.5}})), 1),
    ]
    assert not any("<img" in html for html in shown)


def test_advice_speaks_of_the_form_and_not_of_a_commands_options() -> None:
    advice = Advice(sentence="Show the writer real questions.", option="--like FILE")
    html = headline_html(DONE, Verdict(sentence="No gain.", advice=(advice,)))
    assert "Show the writer real questions." in html and "--like" not in html


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
def test_a_verdict_is_headed_by_what_it_decided(decided: dict[str, Any], word: str) -> None:
    html = headline_html(DONE, replace(Verdict(sentence="It was judged."), **decided))
    assert f"<b>{word}</b> It was judged." in html
