"""From the form to a plan, a command and what is foreseen: plain values, no model, no process."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finished_runs import PAGE_LLM, plan_of

from app.handlers.teach import offer
from app.jobs.jobs import Jobs
from app.jobs.launching import Form, begin, foresee, make_plan, next_name
from app.votes import Side, Vote, VoteBook
from app.workbench import Workbench
from distill.run_config import RunConfig, read_settings
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths


def test_what_is_filled_in_by_default_becomes_a_whole_command(bench: Workbench, corpus: str) -> None:
    jobs = Beginning(bench.paths)
    assert begin(jobs, plan_of(bench, Form(corpus=corpus))) == "nature-taught-1"
    job, secrets, config = jobs.begun
    assert config == RunConfig(name="nature-taught-1", corpus="nature", base="keywords", n_written=200)
    assert job.environment["OPENAI_BASE_URL"] == "http://127.0.0.1:9/v1"
    assert secrets == {"OPENAI_API_KEY": "sk-page"}
    assert "sk-page" not in repr(job)


def test_what_was_picked_is_in_the_settings_that_the_command_reads(
    bench: Workbench, corpus: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Why do bees dance?\nWhat pulls the sea?\n", encoding="utf-8")
    chosen: dict[str, Any] = {"train": "query", "teacher": "none", "n_candidates": 7, "budget": "5000 tokens"}
    lesson = Form(corpus=corpus, source="upload", upload=str(file), **chosen)
    jobs = Beginning(bench.paths)
    plan = plan_of(bench, lesson)
    begin(jobs, plan)
    job, _, config = jobs.begun
    assert config == replace(plan.config, questions=config.questions)
    assert (config.train, config.teacher, config.n_candidates, config.n_written) == ("query", "none", 7, 0)
    assert (Path(config.questions).parent, job.budget) == (bench.paths.run(config.name).resolve(), "5000 tokens")


class Beginning(Jobs):
    """Jobs that read the settings as the command would, and start nothing."""

    begun: Any = None

    def start(self, job: Any, secrets: Any, files: Any) -> None:
        settings = self._paths.run(job.name) / "settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_bytes(files[settings.name])
        self.begun = (job, secrets, read_settings(settings, {})[0])


def test_the_keys_of_two_endpoints_are_never_mixed_up(bench: Workbench, corpus: str) -> None:
    """The page's key sent to an address that a visitor typed would be a stolen key."""
    typed = Form(corpus=corpus, teacher="endpoint", base_url="https://other.example/v1", model="m")
    assert plan_of(bench, typed).llm.api_key is None
    assert plan_of(bench, typed._replace(key="sk-own")).llm.api_key == "sk-own"
    assert plan_of(bench, typed._replace(key="sk-own")).needs_key
    embedded = plan_of(bench, Form(corpus=corpus, teacher="embedded"))
    assert embedded.llm.is_embedded
    jobs = Beginning(bench.paths)
    begin(jobs, embedded)
    job, secrets, _ = jobs.begun
    assert (job.environment["OPENAI_API_KEY"], secrets) == ("", {})


def test_votes_and_questions_of_people_are_offered_and_taken(bench: Workbench, corpus: str) -> None:
    assert [update["visible"] for update in offer(bench, corpus)] == [False, False]
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
    replace(bench, keeps_questions=True).keep_question(corpus, "How?")
    votes, asked = offer(bench, corpus)
    assert ("1 order" in votes["label"], "1 question" in asked["label"]) == (True, True)

    plan = plan_of(bench, Form(corpus=corpus, votes=True, asked=True))
    assert json.loads(plan.files["votes.jsonl"]) == {"question": "Why?", "ranking": ["p", "q"]}
    assert Path(plan.config.votes).name == "votes.jsonl" and Path(plan.config.log).name == "asked.jsonl"
    said = " ".join(foresee(plan, bench.paths).said)
    assert "1 order(s), which count beside the teacher's" in said and "1 question(s) that people asked here" in said
    unasked = plan_of(bench, Form(corpus=corpus))
    assert (unasked.config.votes, unasked.config.log, unasked.files) == ("", "", {})
    alone = plan_of(bench, Form(corpus=corpus, votes=True, teacher="none"))
    assert alone.files["votes.jsonl"] == plan.files["votes.jsonl"]
    assert "1 order(s), which are the only ones" in " ".join(foresee(alone, bench.paths).said)


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
        ({"source": "upload", "upload": "gone/none.jsonl"}, "'none.jsonl'"),
        ({"source": "upload", "upload": "gone/none.exe"}, "no file of questions"),
    ],
)
def test_what_is_wrong_with_the_form_is_said(
    bench: Workbench, corpus: str, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        plan_of(bench, Form(**({"corpus": corpus} | changes)))


def test_a_corpus_that_is_gone_is_said(bench: Workbench) -> None:
    with pytest.raises(NotFoundError, match="There is no corpus 'gone'"):
        plan_of(bench, Form(corpus="gone"))


def test_an_uploaded_line_that_is_no_question_is_named_without_the_servers_path(
    bench: Workbench, corpus: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "Why?"}\nnonsense\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"Line 2 of 'mine\.jsonl' is no question"):
        plan_of(bench, Form(corpus=corpus, source="upload", upload=str(file)))


def test_before_it_runs_calls_tokens_cost_and_time_are_foreseen(bench: Workbench, corpus: str) -> None:
    foreseen = foresee(plan_of(bench, Form(corpus=corpus, n_written=30)), bench.paths)
    said = " ".join(foreseen.said)
    assert "has only 4 passage(s)" in said, "a corpus that is too small is found out in the end"
    # 40 to write 30 questions, 24 of which train; 20 asked twice, 20 plants
    assert "About 124 calls" in foreseen.details[0]
    assert "at a price that is not known" in said
    assert "on two cores, and however long the endpoint takes" in said
    assert not bench.paths.runs.exists()


def test_without_a_teacher_uploaded_questions_cost_nothing(bench: Workbench, corpus: str, tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("Why do bees dance?\nWhat pulls the sea?\nHow is glass made?\nWhy?\nWho?\n", encoding="utf-8")
    plan = plan_of(bench, Form(corpus=corpus, source="upload", upload=str(file), teacher="none"))
    said = " ".join(foresee(plan, bench.paths).said)
    assert "4 questions train and 1 are held out" in said
    assert "no gain can be measured" in said
    assert "No LLM is asked" in said
    assert plan.config.teacher == "none"


def test_a_made_up_name_is_free(paths: DataPaths) -> None:
    paths.run("nature-taught-1").mkdir(parents=True)
    paths.encoder("nature-taught-2").mkdir(parents=True)
    assert next_name(paths, "nature") == "nature-taught-3"


@pytest.mark.parametrize(
    ("url", "is_asked"),
    [
        ("https://llm.example/v1", True),
        ("https://llm.example/v1/deeper", True),
        ("http://127.0.0.1:9/v1", True),  # the page's own
        ("https://llm.example/v1evil", False),
        ("https://llm.example.evil/v1", False),
        ("http://llm.example/v1", False),
        ("http://169.254.169.254/latest", False),
        ("http://localhost:8000/v1", False),
    ],
)
def test_where_others_visit_only_named_addresses_are_asked(
    bench: Workbench, corpus: str, url: str, is_asked: bool
) -> None:
    form = Form(corpus=corpus, teacher="endpoint", base_url=url, model="m")
    named = replace(PAGE_LLM, base_url="http://127.0.0.1:9/v1")
    with nullcontext() if is_asked else pytest.raises(InputError, match=f"does not ask {url}.*APP_ENDPOINTS={url}"):
        make_plan(form, bench.paths, bench.encoder, named, ["https://llm.example/v1"])
