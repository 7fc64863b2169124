"""The whole walk through the page as one person takes it, in a headless browser, with the real encoder and a small
scripted LLM: files, an answer, a comparison, a vote, a lesson, its verdict, and the taught retriever's own answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import field, free_port, open_tab, shoot, visit
from playwright.sync_api import Browser, Page, expect
from scripted_endpoint import ScriptedEndpoint
from small_lesson import FACTS, Teacher, write_asked, write_facts

from app.__main__ import assemble, launch
from app.jobs.jobs import Jobs
from app.settings import Settings
from app.votes import VoteBook
from distill.run_folder import delete_run as delete_folder
from distill.verdict.promotion import promoted
from indexes.paths import DataPaths

TEACHING_MS = 400_000
QUESTION = "What does a river otter keep under its arm?"


@pytest.fixture(scope="module")
def teacher() -> Iterator[Teacher]:
    teacher = Teacher()
    yield teacher
    teacher.gate.set()


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, started_before: Callable[[Path], DataPaths]) -> DataPaths:
    return started_before(tmp_path_factory.mktemp("walk") / "data")


@pytest.fixture(scope="module")
def address(paths: DataPaths, teacher: Teacher) -> Iterator[str]:
    """Where the page listens, over an empty data folder; whatever is still being taught in the end is ended."""
    with ScriptedEndpoint(teacher) as endpoint:
        settings = Settings(
            data_dir=paths.root,
            openai_base_url=endpoint.base_url,
            llm_model="scripted",
            app_demo=False,
            app_port=free_port(),
            app_log_questions=True,
            app_max_upload_mb=1,
        )
        bench = assemble(settings, paths)
        opened = launch(bench, settings)
        bench.background.start()
        yield f"http://127.0.0.1:{settings.app_port}/"
        jobs = Jobs(paths)
        if job := jobs.running():
            delete_folder(paths, job.name, ends=True)
        bench.background.stop()
        opened.close(verbose=False)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with visit(browser, address) as page:
        yield page


def test_from_files_to_a_taught_retriever(page: Page, paths: DataPaths, teacher: Teacher, tmp_path: Path) -> None:
    open_tab(page, "Corpora")
    field(page, "add-corpus").fill("facts")
    field(page, "add-corpus").press("Enter")
    page.locator("#add-files input[type=file]").set_input_files(write_facts(tmp_path))
    expect(page.locator("#add-files")).to_contain_text("otter")
    page.locator("#add-button").click()
    expect(page.locator("#add-progress")).to_contain_text(f"{len(FACTS)} files of corpus 'facts' can be asked now")

    open_tab(page, "Ask")
    ask(page)
    page.locator("#ask-answer a.citation").first.click()
    first = page.locator("#ask-passage-1")
    expect(first).to_have_attribute("open", "")
    expect(first).to_be_in_viewport()
    shoot(page, "walk-1-answer")

    open_tab(page, "Compare")
    field(page, "compare-question").fill(QUESTION)
    field(page, "compare-question").press("Enter")
    for side in ("left", "right"):
        expect(page.locator(f"#{side}-answer .answer.done")).to_contain_text("stone")
    page.locator("#vote-left").click()
    expect(page.locator("#compare-note")).to_contain_text("Thank you, your vote is kept")
    assert [vote.verdict for vote in VoteBook(paths.votes).votes()] == ["left"]
    shoot(page, "walk-2-vote")

    open_tab(page, "Teach")
    page.get_by_label("From a file").check()
    page.locator("#teach-upload input[type=file]").set_input_files(write_asked(tmp_path))
    page.get_by_label("Use what people asked and voted here too (1 question, 1 order)").check()
    expect(page.locator("#teach-foreseen")).to_contain_text("beside the teacher's")
    page.get_by_label("Quick, about a minute").check()
    expect(page.locator("#teach-foreseen")).to_contain_text("scripted puts passages in order")
    page.locator("#teach-button").click()
    expect(page.locator("#teach-message")).to_contain_text("'facts-taught-1' has begun")
    settings = paths.run("facts-taught-1") / "settings.json"
    assert json.loads(settings.read_text(encoding="utf-8"))["train"] == "query"
    expect(page.locator("#teach-stages [aria-current=step]")).to_contain_text("Passages are found", timeout=TEACHING_MS)
    page.reload()
    open_tab(page, "Teach")
    expect(page.locator("#teach-headline")).to_contain_text("facts-taught-1")
    expect(page.locator("#teach-stages [aria-current=step]")).to_contain_text("Passages are found")
    teacher.gate.set()
    expect(page.locator("#teach-headline .verdict")).to_contain_text("too few to tell", timeout=TEACHING_MS)
    expect(page.locator("#teach-bars tr", has_text="Baseline").first).to_be_visible()
    expect(page.locator("#teach-figures")).to_contain_text("Malformed replies")
    expect(page.locator("#teach-curves figcaption").last).to_contain_text("Retriever: divergence from its targets")
    expect(page.locator("#teach-curves svg[role=img]").last).to_be_visible()
    shoot(page, "walk-3-verdict")
    # So few questions can show no clear gain: a person who wants it all the same has a button for that.
    page.locator("#teach-promote").click()
    expect(page.locator("#teach-said")).to_contain_text("showed no clear gain")
    page.locator("#teach-promote").click()
    expect(page.locator("#teach-said")).to_contain_text("answers for corpus 'facts' from now on")
    expect(page.locator("#teach-runs")).to_contain_text("answers now")
    assert promoted(paths, "facts") == "facts-taught-1"

    open_tab(page, "Ask")
    # what was promoted is used without being picked
    expect(page.get_by_role("radio", name="Taught", exact=True)).to_be_checked()
    ask(page)
    expect(page.locator("#ask-asked a.link")).to_have_attribute("href", re.compile("retriever=facts-taught-1"))
    shoot(page, "walk-4-taught")


def ask(page: Page) -> None:
    """Asks on the Ask tab, and waits for the answer."""
    field(page, "ask-question").fill(QUESTION)
    field(page, "ask-question").press("Enter")
    expect(page.locator("#ask-passages details").first).to_contain_text("otter")
    expect(page.locator("#ask-answer .answer.done")).to_contain_text("stone")


def test_the_report_is_shown_and_the_promotion_taken_back(page: Page, paths: DataPaths) -> None:
    open_tab(page, "Teach")
    page.get_by_role("button", name="Report").click()
    expect(page.locator("#teach-report")).to_contain_text("Retrievers")
    delete_run(page)
    expect(page.locator("#teach-said")).to_contain_text("Roll it back first")
    page.locator("#teach-rollback").click()
    expect(page.locator("#teach-said")).to_contain_text("The baseline answers for corpus 'facts' again")
    assert promoted(paths, "facts") is None


def test_a_run_is_deleted_after_a_question(page: Page, paths: DataPaths) -> None:
    open_tab(page, "Teach")
    page.locator("#teach-delete").click()
    expect(page.locator("#teach-said")).to_contain_text("Delete run 'facts-taught-1'?")
    page.locator("#teach-keep").click()
    assert paths.encoder("facts-taught-1").is_dir()
    delete_run(page)
    expect(page.locator("#teach-said")).to_contain_text("is deleted")
    expect(page.locator("#teach-runs")).to_contain_text("No retriever has been taught yet")
    assert not paths.encoder("facts-taught-1").exists()
    assert not paths.run("facts-taught-1").exists()


def test_a_file_over_the_limit_is_named_and_those_chosen_before_it_stay(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    (tmp_path / "small.md").write_text("The newt lives in the bog.", encoding="utf-8")
    (tmp_path / "large.md").write_text("word " * 300_000, encoding="utf-8")
    # gradio's own page complains of the upload whose progress it cannot follow any more
    with visit(browser, address, borne="Failed to load resource|Response") as page:
        open_tab(page, "Corpora")
        chooser = page.locator("#add-files input[type=file]")
        chooser.set_input_files(tmp_path / "small.md")
        expect(page.locator("#add-files")).to_contain_text("small")
        chooser.set_input_files(tmp_path / "large.md")
        expect(page.get_by_test_id("toast-body")).to_contain_text(
            re.compile("exceed the maximum allowed size of 1.*large", re.DOTALL)
        )
        expect(page.locator("#add-files")).to_contain_text("small")
        expect(page.locator("#add-files")).not_to_contain_text("large")
        field(page, "add-corpus").fill("facts")
        field(page, "add-corpus").press("Enter")
        page.locator("#add-button").click()
        expect(page.locator("#add-outcomes").locator("tr", has_text="small.md")).to_contain_text("read")
        shoot(page, "walk-5-limit")


def delete_run(page: Page) -> None:
    page.locator("#teach-delete").click()
    page.locator("#teach-confirm").click()
