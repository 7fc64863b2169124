"""From the form to a command, what is foreseen, and what the page reads of runs: plain values, no model, no process."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from app.asked import keep_question
from app.curves import bars_html, curves_html
from app.handlers.teaching import Classroom, offer, resume, show_runs
from app.jobs import Jobs
from app.lessons import figures_html, headline_html, runs_table_html, stages_list_html
from app.rendering import command_notice_html
from app.runs import Curve, RunInfo, Verdict, bars_of, curves_of, delete_run, list_runs, malformed_share, verdict_of
from app.teaching import Lesson, foresee, go_on, job_of, make_plan, next_name
from app.votes import Side, Vote, VoteBook
from app.workbench import Workbench
from distill.llm.connection import LLMConfig
from distill.run import RunConfig
from distill.verdict.promotion import promote
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths

PAGE_LLM = LLMConfig(base_url="http://127.0.0.1:9/v1", api_key="sk-page", model="wise")
HOSTILE = "<img src=x onerror=alert(1)>"
METRICS: dict[str, Any] = {
    "config": {"name": "taught", "corpus": "nature", "base": "keywords"},
    "questions": 200,
    "retrievers": {"keywords": {"ndcg@10": 0.56}, "taught": {"ndcg@10": 0.64}, "lexical": {"ndcg@10": 0.6}},
    "intervals": {"keywords": [0.5, 0.62], "taught": [0.58, 0.7]},
    "verdict": {"promoted": True, "sentence": "On 200 questions it never saw, nDCG@10 rose.", "advice": ["Go on."]},
}


def plan_of(bench: Workbench, lesson: Lesson) -> Any:
    return make_plan(lesson, bench.paths, bench.encoder, PAGE_LLM)


def write(file: Path, *records: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def finished(paths: DataPaths, name: str = "taught", **changes: object) -> None:
    """A run as `python -m distill run` leaves it."""
    metrics = METRICS | {"config": METRICS["config"] | {"name": name}} | changes
    write(paths.run(name) / "config.json", metrics["config"])
    write(paths.run(name) / "metrics.json", metrics)


def test_what_is_filled_in_by_default_becomes_a_whole_command(bench: Workbench, corpus: str) -> None:
    job = job_of(plan_of(bench, Lesson(corpus=corpus)), bench.paths)
    assert job.arguments[-2:] == ("--", "nature")
    assert {"--name=nature-taught-1", "--base=keywords", "--write-questions=200"} <= {*job.arguments}
    assert job.environment["OPENAI_BASE_URL"] == "http://127.0.0.1:9/v1"
    assert "sk-page" not in repr(job)


def test_the_keys_of_two_endpoints_are_never_mixed_up(bench: Workbench, corpus: str) -> None:
    """The page's key sent to an address that a visitor typed would be a stolen key."""
    typed = Lesson(corpus=corpus, teacher="endpoint", base_url="https://other.example/v1", model="m")
    assert plan_of(bench, typed).llm.api_key is None
    assert plan_of(bench, replace(typed, key="sk-own")).llm.api_key == "sk-own"
    assert plan_of(bench, replace(typed, key="sk-own")).needs_key
    embedded = plan_of(bench, Lesson(corpus=corpus, teacher="embedded"))
    assert embedded.llm.is_embedded
    assert job_of(embedded, bench.paths).environment["OPENAI_API_KEY"] == ""


def test_a_resume_takes_the_pages_key_to_the_pages_endpoint_only(bench: Workbench, corpus: str) -> None:
    class Recorded(Jobs):
        secrets: Any = None

        def resume(self, name: str, *, budget: str, secrets: Any) -> None:
            self.secrets = secrets

    jobs = Recorded(bench.paths)
    for url, expected in (("http://127.0.0.1:9/v1", {"OPENAI_API_KEY": "sk-page"}), ("https://other.example/v1", {})):
        job = job_of(plan_of(bench, Lesson(corpus=corpus)), bench.paths)
        kept = {"name": job.name, "corpus": corpus, "arguments": [], "environment": {"OPENAI_BASE_URL": url}}
        write(bench.paths.run(job.name) / "job.json", kept)
        go_on(jobs, job.name, bench.paths, budget="", key="", page_llm=PAGE_LLM)
        assert jobs.secrets == expected
        (bench.paths.run(job.name) / "job.json").unlink()
        bench.paths.run(job.name).rmdir()


class Adopting(Jobs):
    """Jobs that keep what they are to go on with, and start nothing."""

    adopted: Any = None

    def adopt(self, job: Any, secrets: Any) -> None:
        self.adopted = (job, secrets)


def begun_by_command(paths: DataPaths, **settings: object) -> None:
    """A run as `python -m distill run` leaves it when it is stopped in the middle."""
    config = asdict(RunConfig(name="taught", corpus="nature", base="keywords", n_written=50, **settings))  # type: ignore[arg-type]
    write(paths.run("taught") / "config.json", config | {"content": "c", "fingerprint": "f"})


def test_a_run_that_a_command_began_goes_on_with_the_same_settings(bench: Workbench, corpus: str) -> None:
    jobs = Adopting(bench.paths)
    begun_by_command(bench.paths, teacher="wise", seed=7, styles=("claim",))
    go_on(jobs, "taught", bench.paths, budget="1000 tokens", key="", page_llm=PAGE_LLM)
    job, secrets = jobs.adopted
    assert {"--name=taught", "--write-questions=50", "--seed=7", "--style=claim"} <= {*job.arguments}
    assert (job.corpus, job.budget, secrets) == ("nature", "1000 tokens", {"OPENAI_API_KEY": "sk-page"})


def test_a_run_of_another_teacher_is_left_to_its_own_command(bench: Workbench, corpus: str) -> None:
    jobs = Adopting(bench.paths)
    begun_by_command(bench.paths, teacher="a model of another endpoint")
    with pytest.raises(InputError, match="begun with the teacher 'a model of another endpoint'"):
        go_on(jobs, "taught", bench.paths, budget="", key="", page_llm=PAGE_LLM)
    room = Classroom(bench=replace(bench, llm=PAGE_LLM), jobs=jobs)
    said = unescape(resume(room, "taught", "", ""))
    assert "begun with the teacher 'a model of another endpoint', and this page's LLM is 'wise', so it goes on" in said
    (command,) = re.findall(r"<pre[^>]*>(.*)</pre>", said)
    assert command.startswith("LLM_MODEL='a model of another endpoint' python -m distill run --data-dir=")
    assert {"--name=taught", "--write-questions=50"} < {*shlex.split(command)}
    assert jobs.adopted is None
    begun_by_command(bench.paths, teacher=PAGE_LLM.local_llm)
    go_on(jobs, "taught", bench.paths, budget="", key="", page_llm=PAGE_LLM)
    job, secrets = jobs.adopted
    assert (job.environment["OPENAI_BASE_URL"], secrets) == ("", {})  # the embedded one; the page's key stays here


def test_only_a_retriever_that_was_found_better_is_offered_for_promotion_at_first_sight(
    bench: Workbench, taught: str
) -> None:
    room = Classroom(bench=bench, jobs=Jobs(bench.paths))
    for is_better, expected in ((True, "primary"), (False, "secondary")):
        finished(bench.paths, verdict={"promoted": is_better, "sentence": "It was judged."})
        promote_button = show_runs(room, "nature", "taught", {}).promote
        assert (promote_button["visible"], promote_button["variant"]) == (True, expected)


def test_votes_and_questions_of_people_are_offered_and_taken(bench: Workbench, corpus: str) -> None:
    room = Classroom(bench=bench, jobs=Jobs(bench.paths))
    assert [update["visible"] for update in offer(room, corpus)] == [False, False]
    sides = tuple(Side(retriever=key, passages=("p", "q"), documents=("P", "Q")) for key in ("one", "two"))
    vote = Vote(
        time="t",
        visitor="v",
        comparison="c",
        corpus=corpus,
        question="Why?",
        sides=sides,
        is_blind=True,
        verdict="left",
    )
    VoteBook(bench.paths.votes).add(vote)
    keep_question(replace(bench, keeps_questions=True), corpus, "How?")
    votes, asked = offer(room, corpus)
    assert ("1 order" in votes["label"], "1 question" in asked["label"]) == (True, True)

    plan = plan_of(bench, Lesson(corpus=corpus, votes=True, asked=True))
    assert json.loads(plan.files["votes.jsonl"]) == {"question": "Why?", "ranking": ["p", "q"]}
    assert Path(plan.config.votes).name == "votes.jsonl" and Path(plan.config.log).name == "asked.jsonl"
    said = " ".join(foresee(plan, bench.paths))
    assert "1 order(s), which count beside the teacher's" in said and "1 question(s) that people asked here" in said
    unasked = plan_of(bench, Lesson(corpus=corpus))
    assert (unasked.config.votes, unasked.config.log, unasked.files) == ("", "", {})
    assert plan_of(bench, Lesson(corpus=corpus, votes=True, teacher="none")).config.votes == ""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "../../escape"}, "cannot be the name"),
        ({"name": "--help"}, "cannot be the name"),
        ({"name": "keywords"}, "cannot be the name"),
        ({"n_written": 3}, "from 10 to 5,000"),
        ({"n_written": None}, "from 10 to 5,000"),
        ({"n_candidates": 200}, "from 2 to 20"),
        ({"budget": "much"}, "A budget like"),
        ({"budget": "3 usd"}, "price, which is not known"),
        ({"like": "one\ntwo"}, "three to twenty"),
        ({"teacher": "endpoint", "base_url": "file:///etc/passwd", "model": "m"}, "has to be whole"),
        ({"teacher": "endpoint", "base_url": "https://key@host/v1", "model": "m"}, "has to be whole"),
        ({"teacher": "endpoint", "base_url": "https://[", "model": "m"}, "has to be whole"),
        ({"teacher": "endpoint", "base_url": "https://host/v1"}, "which model"),
        ({"upload": "gone/none.jsonl"}, "'none.jsonl'"),
        ({"upload": "gone/none.exe"}, "no file of questions"),
    ],
)
def test_what_is_wrong_with_the_form_is_said(
    bench: Workbench, corpus: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        plan_of(bench, Lesson(**({"corpus": corpus} | changes)))


def test_a_corpus_that_is_gone_is_said(bench: Workbench) -> None:
    with pytest.raises(NotFoundError, match="There is no corpus 'gone'"):
        plan_of(bench, Lesson(corpus="gone"))


def test_an_uploaded_line_that_is_no_question_is_named_without_the_servers_path(
    bench: Workbench, corpus: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "Why?"}\nnonsense\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"Line 2 of 'mine\.jsonl' is no question"):
        plan_of(bench, Lesson(corpus=corpus, upload=str(file)))


def test_before_it_runs_calls_tokens_cost_and_time_are_foreseen(bench: Workbench, corpus: str) -> None:
    said = " ".join(foresee(plan_of(bench, Lesson(corpus=corpus, n_written=30)), bench.paths))
    assert "About 104 calls of wise" in said  # 40 to write 30 questions, 24 of which train; 20 asked twice before
    assert "at a price that is not known" in said
    assert "on two cores, and however long the endpoint takes" in said
    assert not bench.paths.runs.exists()


def test_without_a_teacher_uploaded_questions_cost_nothing(bench: Workbench, corpus: str, tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("Why do bees dance?\nWhat pulls the sea?\nHow is glass made?\nWhy?\nWho?\n", encoding="utf-8")
    plan = plan_of(bench, Lesson(corpus=corpus, upload=str(file), teacher="none"))
    said = " ".join(foresee(plan, bench.paths))
    assert "4 questions train and 1 are held out" in said
    assert "no gain can be measured" in said
    assert "No LLM is asked" in said
    assert "--teacher=none" in job_of(plan, bench.paths).arguments


def test_a_made_up_name_is_free(paths: DataPaths) -> None:
    paths.run("nature-taught-1").mkdir(parents=True)
    paths.encoder("nature-taught-2").mkdir(parents=True)
    assert next_name(paths, "nature") == "nature-taught-3"


def test_earlier_runs_are_listed_with_their_verdicts(bench: Workbench, taught: str) -> None:
    finished(bench.paths)
    promote(bench.paths, "nature", taught, "taught")
    write(bench.paths.run("broken") / "config.json", ["no run"])
    (run,) = list_runs(bench.paths, Jobs(bench.paths))
    assert (run.name, run.state, run.answers_now) == ("taught", "done", True)
    assert run.sentence == "On 200 questions it never saw, nDCG@10 rose."


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


def test_bars_carry_intervals_where_a_run_kept_them() -> None:
    bars = bars_of(METRICS)
    assert [(bar.label, bar.value, bar.interval) for bar in bars] == [
        ("Baseline", 0.56, (0.5, 0.62)),
        ("Taught", 0.64, (0.58, 0.7)),
        ("Keyword search (BM25)", 0.6, None),
    ]
    html = bars_html(bars, 200)
    assert "0.580–0.700" in html
    assert "On 200 held-out questions" in html
    assert bars_html(bars_of({}), 0) == ""


def test_losses_are_drawn_and_a_resumed_training_draws_no_step_twice(paths: DataPaths) -> None:
    write(
        paths.run("taught") / "retriever-checkpoints" / "losses.jsonl",
        {"step": 0, "steps": 40, "eval_loss": 2.0},
        {"step": 10, "steps": 40, "loss": 1.5},
        {"step": 20, "steps": 40, "loss": 9.0, "eval_loss": 9.0},
        {"step": 15, "steps": 40, "loss": 1.2},
        {"step": 20, "steps": 40, "eval_loss": 1.0},
    )
    (curve,) = curves_of(paths, "taught")
    assert curve.trained == ((10, 1.5), (15, 1.2))
    assert curve.held_out == ((0, 2.0), (20, 1.0))
    html = curves_html([curve])
    assert "step 20 of 40" in html
    assert "held out 2.000 → 1.000" in html


@pytest.mark.parametrize(("objective", "title"), [("margin-mse", "error of the margins"), ("kl", "divergence")])
def test_the_retrievers_loss_is_called_what_it_is(paths: DataPaths, objective: str, title: str) -> None:
    write(paths.run("taught") / "config.json", {"objective": objective})
    write(paths.run("taught") / "retriever-checkpoints" / "losses.jsonl", {"step": 0, "steps": 40, "eval_loss": 2.0})
    (curve,) = curves_of(paths, "taught")
    assert title in curve.title


def test_a_flat_or_single_loss_can_be_drawn() -> None:
    for points in (((0.0, 1.0),), ((0.0, 0.0), (1.0, 0.0))):
        html = curves_html([Curve(title="t", trained=(), held_out=points, steps=1)])
        assert "nan" not in html and "inf" not in html


def test_malformed_replies_are_counted_in_whole_lines(paths: DataPaths) -> None:
    file = write(paths.run("taught") / "rankings.jsonl", {"status": "ok"}, {"status": "partial"})
    with file.open("a", encoding="utf-8") as lines:
        lines.write('{"status": "o')  # being written just now
    assert malformed_share(paths, "taught") == (2, 0.5)
    assert malformed_share(paths, "none") is None


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
    run = RunInfo(name="taught", corpus="nature", state="done", sentence="", answers_now=False, changed_at=0)
    advice = ("Show the writer 3 to 20 real questions (--like FILE): it helps.", "Take another --mode.")
    html = headline_html(run, Verdict(is_better=False, sentence="No gain.", advice=advice))
    assert "real questions: it helps." in html
    assert "Take another mode." in html


def test_a_run_without_a_verdict_has_none() -> None:
    assert verdict_of({}) is None
    assert verdict_of({"verdict": ["an older form"]}) is None
