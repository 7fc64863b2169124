"""From the form to a plan, a command and what is foreseen: plain values, no model, no process."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from finished_runs import plan_of

from app.handlers.teach import look
from app.jobs.jobs import Jobs
from app.jobs.launching import Form, begin, foresee, next_name
from app.votes import Side, Vote, VoteBook
from app.workbench import Reader, Workbench
from distill.llm.connection import LLMConfig
from distill.run_config import RunConfig, read_settings
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths


def test_what_is_filled_in_by_default_becomes_a_whole_command(bench: Workbench, corpus: str) -> None:
    jobs = Beginning(bench.paths)
    assert begin(jobs, plan_of(bench, Form(corpus=corpus))) == "nature-taught-1"
    job, secrets, config = jobs.begun
    assert config == RunConfig(name="nature-taught-1", corpus="nature", base="keywords", n_written=300)
    assert job.environment["OPENAI_BASE_URL"] == "http://127.0.0.1:9/v1"
    assert secrets == {"OPENAI_API_KEY": "sk-page"}
    assert "sk-page" not in repr(job)


def test_what_was_picked_is_in_the_settings_that_the_command_reads(
    bench: Workbench, corpus: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Why do bees dance?\nWhat pulls the sea?\n", encoding="utf-8")
    chosen: dict[str, Any] = {"train": "query", "teacher": "none", "budget": "5000 tokens"}
    lesson = Form(corpus=corpus, source="upload", upload=str(file), **chosen)
    jobs = Beginning(bench.paths)
    plan = plan_of(bench, lesson)
    begin(jobs, plan)
    job, _, config = jobs.begun
    assert config == replace(plan.config, questions=config.questions)
    assert (config.train, config.teacher, config.n_written) == ("query", "none", 0)
    assert (Path(config.questions).parent, job.budget) == (bench.paths.run(config.name).resolve(), "5000 tokens")


class Beginning(Jobs):
    """Jobs that read the settings as the command would, and start nothing."""

    begun: Any = None

    def start(self, job: Any, secrets: Any, files: Any) -> None:
        settings = self._paths.run(job.name) / "settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_bytes(files[settings.name])
        self.begun = (job, secrets, read_settings(settings, {})[0])


@pytest.mark.parametrize("teacher", ["page", "none"])
def test_a_run_that_asks_nobody_is_tied_to_no_llm(bench: Workbench, corpus: str, tmp_path: Path, teacher: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Why do bees dance?\n", encoding="utf-8")
    jobs = Beginning(bench.paths)
    begin(jobs, plan_of(bench, Form(corpus=corpus, source="upload", upload=str(file), teacher=teacher)))
    job, secrets, _ = jobs.begun
    asked = (job.environment["OPENAI_BASE_URL"], secrets)
    assert asked == (("", {}) if teacher == "none" else ("http://127.0.0.1:9/v1", {"OPENAI_API_KEY": "sk-page"}))


def test_votes_and_questions_of_people_are_offered_and_taken(bench: Workbench, corpus: str) -> None:
    assert look(bench, Form(corpus=corpus)).people["visible"] is False
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
    assert "1 question, 1 order" in look(bench, Form(corpus=corpus)).people["label"]

    plan = plan_of(bench, Form(corpus=corpus, people=True))
    assert json.loads(plan.files["votes.jsonl"]) == {"question": "Why?", "ranking": ["p", "q"]}
    assert Path(plan.config.votes).name == "votes.jsonl" and Path(plan.config.log).name == "asked.jsonl"
    said = " ".join(foresee(plan, bench.paths).said)
    assert "1 order, beside the teacher's" in said and "Of what people asked here, 1 question" in said
    unasked = plan_of(bench, Form(corpus=corpus))
    assert (unasked.config.votes, unasked.config.log, unasked.files) == ("", "", {})
    alone = plan_of(bench, Form(corpus=corpus, people=True, teacher="none"))
    assert alone.files["votes.jsonl"] == plan.files["votes.jsonl"]
    assert "1 order, and no others teach" in " ".join(foresee(alone, bench.paths).said)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"budget": "much"}, "A budget like"),
        ({"budget": "3 usd"}, "price, which is not known"),
        ({"source": "like"}, "Upload a file"),
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


@pytest.mark.parametrize(("n", "is_taken"), [(2, False), (3, True), (21, False)])
def test_a_few_questions_are_written_like(
    bench: Workbench, corpus: str, tmp_path: Path, n: int, is_taken: bool
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("".join(f"Why {number}?\n" for number in range(n)), encoding="utf-8")
    form = Form(corpus=corpus, source="like", upload=str(file))
    with nullcontext() if is_taken else pytest.raises(InputError, match="three to 20 are expected"):
        plan = plan_of(bench, form)
        assert (plan.config.like, plan.config.n_written) == ("like.txt", 300)
        assert plan.files["like.txt"] == file.read_bytes()


def test_before_it_runs_calls_tokens_cost_and_time_are_foreseen(bench: Workbench, corpus: str) -> None:
    foreseen = foresee(plan_of(bench, Form(corpus=corpus, train="query")), bench.paths)
    said = " ".join(foreseen.said)
    assert "has only 4 passages" in said, "a corpus that is too small is found out in the end"
    # 133 to write 100 questions, 80 of which train; 20 asked twice, 20 plants
    assert "About 273 calls" in foreseen.details[1]
    assert "wise writes 100 questions" in said and "wise puts passages in order" in said
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


def test_each_way_says_how_long_it_takes_and_a_teacher_that_would_be_refused_is_not_offered(
    bench: Workbench, corpus: str
) -> None:
    view = look(bench, Form(corpus=corpus))
    assert [key for _, key in view.teacher["choices"]] == ["page", "none"]
    assert [re.sub(r"[\d.]+", "N", label) for label, _ in view.train["choices"]] == [
        "Quick, about a minute",
        "Thorough, about N minutes",
    ]
    assert (view.budget["visible"], view.upload["visible"]) == (True, False)
    embedded = look(replace(bench, reader=Reader(LLMConfig(), bench.paths)), Form(corpus=corpus, source="like"))
    assert ([key for _, key in embedded.teacher["choices"]], embedded.teacher["value"]) == (["none"], "none")
    assert "would be refused" in embedded.teacher["info"]
    assert (embedded.budget["visible"], embedded.upload["visible"]) == (False, True)


def test_a_made_up_name_is_free(paths: DataPaths) -> None:
    paths.run("nature-taught-1").mkdir(parents=True)
    paths.encoder("nature-taught-2").mkdir(parents=True)
    assert next_name(paths, "nature") == "nature-taught-3"
