"""The Teach tab as a person uses it, in a headless browser: a small corpus is taught by a scripted LLM in a child
process, with a second visitor, a pause and a cancellation. test_walk.py goes on to the verdict and what follows.

The tests are the steps of one visit, in order: each finds what the ones before it left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from browsing import field, free_port, open_tab, shoot, visit
from playwright.sync_api import Browser, Page, expect
from scripted_endpoint import ScriptedEndpoint
from small_lesson import Teacher, write_asked, write_facts

from app.__main__ import assemble, launch
from app.jobs.jobs import Jobs
from app.settings import Settings
from distill.run_folder import delete_run
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

TEACHING_MS = 400_000
KEY, TYPED_KEY = "sk-never-on-disk", "sk-typed-and-never-on-disk"


@pytest.fixture(scope="module")
def teacher() -> Iterator[Teacher]:
    teacher = Teacher()
    yield teacher
    teacher.gate.set()


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, started_before: Callable[[Path], DataPaths]) -> DataPaths:
    folder = tmp_path_factory.mktemp("teach")
    paths = started_before(folder / "data")
    for _ in add_files(paths, "facts", write_facts(folder), load_encoder(DEFAULT_ENCODER, paths)):
        pass
    return paths


@pytest.fixture(scope="module")
def endpoint(teacher: Teacher) -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(teacher) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def address(paths: DataPaths, endpoint: ScriptedEndpoint) -> Iterator[str]:
    """Where the page listens; whatever is still being taught in the end is ended."""
    settings = Settings(
        data_dir=paths.root,
        openai_base_url=endpoint.base_url,
        openai_api_key=KEY,
        llm_model="scripted",
        app_demo=False,
        app_port=free_port(),
    )
    bench = assemble(settings, paths)
    opened = launch(bench, settings)
    yield f"http://127.0.0.1:{settings.app_port}/"
    jobs = Jobs(paths)
    if job := jobs.running():
        delete_run(paths, job.name, ends=True)
    opened.close(verbose=False)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A visitor's page on the Teach tab."""
    with visit(browser, address) as page:
        open_tab(page, "Teach")
        yield page


def test_before_anything_runs_the_page_says_what_it_would_ask(page: Page, paths: DataPaths) -> None:
    expect(page.locator("#corpus input")).to_have_value("facts")
    expect(page.locator("#teach-foreseen")).to_contain_text("scripted writes 300 questions")
    expect(page.get_by_label("Thorough, about")).to_be_checked()
    expect(page.locator("#teach-runs")).to_contain_text("No retriever has been taught yet")
    page.get_by_label("From a file").check()
    expect(page.locator("#teach-foreseen")).to_contain_text("Upload a file of questions first")
    assert not paths.runs.exists()
    shoot(page, "teach-empty")


def test_another_llm_is_chosen_and_teaches(page: Page, endpoint: ScriptedEndpoint) -> None:
    page.locator("#llm > button, #llm button.label-wrap").first.click()
    page.get_by_label("Another endpoint").check()
    field(page, "llm-url").fill(endpoint.base_url)
    field(page, "llm-key").fill(TYPED_KEY)
    page.locator("#llm-use").click()
    expect(page.locator("#llm-said")).to_contain_text("answers and teaches")
    expect(field(page, "llm-key")).to_have_value("")
    assert endpoint.requests[-1].key == TYPED_KEY
    shoot(page, "teach-llm")
    page.reload()
    expect(page.locator("#llm")).to_contain_text("LLM: 127.0.0.1")
    assert TYPED_KEY not in page.content()


def test_a_run_begins_with_one_click(page: Page, tmp_path: Path) -> None:
    page.get_by_label("From a file").check()
    page.locator("#teach-upload input[type=file]").set_input_files(write_asked(tmp_path))
    expect(page.locator("#teach-foreseen")).to_contain_text("questions train and")
    page.locator("#teach-button").click()
    expect(page.locator("#teach-message")).to_contain_text("'facts-taught-1' has begun")
    expect(page.locator("#teach-headline")).to_contain_text("going on")
    expect(page.locator("#teach-stages [aria-current=step]")).to_contain_text("Passages are found", timeout=TEACHING_MS)
    shoot(page, "teach-running")


def test_a_second_start_is_told_who_runs_what(page: Page) -> None:
    page.locator("#teach-button").click()
    expect(page.locator("#teach-message [role=alert]")).to_contain_text("'facts-taught-1' is being taught for corpus")


def test_a_pause_keeps_what_was_done_and_a_resume_goes_on_after_it(
    page: Page, teacher: Teacher, paths: DataPaths
) -> None:
    page.locator("#teach-pause").click()
    expect(page.locator("#teach-headline")).to_contain_text("Paused", timeout=TEACHING_MS)
    assert Jobs(paths).running() is None
    shoot(page, "teach-paused")
    questions = (paths.run("facts-taught-1") / "questions.jsonl").read_bytes()
    teacher.gate.set()
    page.locator("#teach-resume").click()
    expect(page.locator("#teach-headline")).to_contain_text("going on")
    expect(page.locator("#teach-figures")).to_contain_text("Malformed replies", timeout=TEACHING_MS)
    assert (paths.run("facts-taught-1") / "questions.jsonl").read_bytes() == questions


def test_no_key_is_on_disk(paths: DataPaths) -> None:
    """A key in a log, a command or a progress file would be read by whoever gets the data folder."""
    read = []
    for folder, _, names in os.walk(paths.runs):  # which, unlike rglob, passes over what the run deletes meanwhile
        for file in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):
                content = file.read_bytes()
                assert KEY.encode() not in content and TYPED_KEY.encode() not in content, file
                read.append(file.name)
    assert "questions.jsonl" in read


def test_a_run_is_cancelled_after_a_question_and_leaves_nothing(page: Page, paths: DataPaths) -> None:
    page.locator("#teach-cancel, #teach-delete").locator("visible=true").first.click()
    page.locator("#teach-confirm").click()
    expect(page.locator("#teach-said")).to_contain_text("is deleted", timeout=TEACHING_MS)
    assert Jobs(paths).running() is None
    assert not paths.run("facts-taught-1").exists()
