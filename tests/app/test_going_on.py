"""Runs that stopped go on with the LLM that they were begun with, and with no other's key."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from dataclasses import asdict, replace
from html import unescape
from typing import Any

import pytest
from finished_runs import PAGE_LLM, write

from app.handlers.teach import resume
from app.jobs.jobs import Jobs
from app.jobs.launching import go_on
from app.workbench import Reader, Workbench
from distill.run_config import RunConfig, read_settings
from indexes.errors import InputError
from indexes.paths import DataPaths


class Recording(Jobs):
    """Jobs that keep what they are to go on with, and start nothing."""

    resumed: Any = None

    def resume(self, job: Any, secrets: Any) -> None:
        self.resumed = (job, secrets)


def test_a_resume_takes_the_pages_key_to_the_pages_endpoint_only(bench: Workbench, corpus: str) -> None:
    jobs = Recording(bench.paths)
    page, other, key = "http://127.0.0.1:9/v1", "https://other.example/v1", {"OPENAI_API_KEY": "sk-page"}
    for url, model, expected in (
        (page, "wise", key),
        ("", "", {}),
        (page, "a dearer one", None),
        (other, "wise", None),
    ):
        asked = {"OPENAI_BASE_URL": url, "LLM_MODEL": model}
        kept = {"name": "taught", "corpus": corpus, "arguments": [], "environment": asked, "needs_key": True}
        write(bench.paths.run("taught") / "job.json", kept)
        refusal = pytest.raises(InputError, match=f"the LLM {model} at {url}. Choose that one at the top")
        with nullcontext() if expected is not None else refusal:
            go_on(jobs, "taught", bench.paths, budget="", page_llm=PAGE_LLM)
            assert jobs.resumed[1] == expected


def begun_by_command(paths: DataPaths, **settings: object) -> None:
    """A run as `python -m distill run` leaves it when it is stopped in the middle."""
    config = asdict(RunConfig(name="taught", corpus="nature", base="keywords", n_written=50, **settings))  # type: ignore[arg-type]
    write(paths.run("taught") / "config.json", config | {"content": "c", "fingerprint": "f"})


def test_a_run_that_a_command_began_goes_on_with_the_same_settings(bench: Workbench, corpus: str) -> None:
    jobs = Recording(bench.paths)
    begun_by_command(bench.paths, teacher="wise", seed=7, styles=("claim",))
    go_on(jobs, "taught", bench.paths, budget="1000 tokens", page_llm=PAGE_LLM)
    job, secrets = jobs.resumed
    config, _ = read_settings(bench.paths.run("taught") / "config.json", {})
    assert (config.name, config.n_written, config.seed, config.styles) == ("taught", 50, 7, ("claim",))
    assert (job.corpus, job.budget, secrets) == ("nature", "1000 tokens", {"OPENAI_API_KEY": "sk-page"})


def test_a_run_of_another_teacher_is_left_to_its_own_command(bench: Workbench, corpus: str) -> None:
    jobs = Recording(bench.paths)
    begun_by_command(bench.paths, teacher="a model of another endpoint")
    page = replace(bench, reader=Reader(PAGE_LLM, bench.paths), jobs=jobs)
    said = unescape(resume(page, "taught", ""))
    assert "begun with the teacher 'a model of another endpoint', and this page's LLM is 'wise'. Choose that" in said
    typed = shlex.split(said.partition("set as then: ")[2].removesuffix("</div>"))
    assert typed[:4] == ["python", "-m", "distill", "run"]
    assert typed[-1] == f"--config={(bench.paths.run('taught') / 'config.json').resolve()}"
    assert jobs.resumed is None
    begun_by_command(bench.paths, teacher=PAGE_LLM.local_llm)
    go_on(jobs, "taught", bench.paths, budget="", page_llm=PAGE_LLM)
    job, secrets = jobs.resumed
    assert (job.environment["OPENAI_BASE_URL"], secrets) == ("", {})  # the embedded one; the page's key stays here


@pytest.mark.parametrize("by_page", [True, False])
def test_a_run_that_an_earlier_version_began_is_said_not_to_go_on(bench: Workbench, corpus: str, by_page: bool) -> None:
    """Its options are gone, and a child that was given them would die with a usage message that nobody asked for."""
    jobs = Recording(bench.paths)
    folder = bench.paths.run("taught")
    config = asdict(RunConfig(name="taught", corpus=corpus, n_written=50, teacher="wise"))
    del config["trains_ranker"]
    write(folder / "config.json", config | {"method": "direct"})
    if by_page:
        job = {"name": "taught", "corpus": corpus, "arguments": ["--method=direct"], "environment": {}}
        write(folder / "job.json", job)
    with pytest.raises(InputError, match="begun by an earlier version and cannot go on"):
        go_on(jobs, "taught", bench.paths, budget="", page_llm=PAGE_LLM)
    assert jobs.resumed is None and jobs.running() is None
