"""The Teach tab as a person uses it, in a headless browser: a small corpus is taught by a scripted LLM in a child
process, with a reload, a second visitor and a pause in the middle, up to verdict, promotion and rollback.

The tests are the steps of one visit, in order: each finds what the ones before it left.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from scripted_endpoint import Message, ScriptedEndpoint

from app.__main__ import assemble, launch
from app.jobs import Jobs
from app.settings import Settings
from distill.promotion import promoted
from indexes.encoder_files import DEFAULT_ENCODER
from indexes.encoders import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
PATIENCE_MS = 60_000
TEACHING_MS = 400_000
KEY = "sk-never-on-disk"
FACTS = {
    "otter": "a river otter keeps a favourite stone in a pouch of skin under its arm",
    "basalt": "basalt columns form where thick lava cools slowly and shrinks into hexagons",
    "sourdough": "a sourdough starter lives on flour and water and must be fed each day",
    "violin": "the back plate of a violin is carved from maple and the front from spruce",
    "lighthouse": "a lighthouse lens bends light into a beam that is seen for thirty kilometres",
    "glacier": "a glacier moves because ice at its base melts under the weight above",
    "saffron": "saffron threads are the stigmas of a crocus and are picked by hand at dawn",
    "comet": "the tail of a comet always points away from the Sun whatever way it flies",
    "falcon": "a peregrine falcon folds its wings and dives at three hundred kilometres an hour",
    "papyrus": "papyrus sheets were made of strips of reed laid crosswise and pressed flat",
    "coral": "coral polyps live with algae that feed them and give the reef its colour",
    "compass": "a compass needle lines up with the field that the iron core of Earth makes",
}


class Teacher:
    """Writes a question about a passage's topic, and ranks by shared words, but not before the gate is opened."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self, messages: list[Message]) -> str:
        prompt = str(messages[-1]["content"])
        if "Rank them" not in prompt:
            topic = next((topic for topic in FACTS if topic in prompt.lower()), "world")
            return f"What is worth knowing about the {topic} and its ways?"
        self.gate.wait(600)
        question = set(re.findall(r"\w+", re.findall(r"\n\nQuestion: (.*?)\n\n", prompt, re.DOTALL)[0].lower()))
        passages = re.findall(r"\[(\d+)\] (.*?)(?=\n\n)", prompt, re.DOTALL)
        ranked = sorted(passages, key=lambda p: (-len(question & set(re.findall(r"\w+", p[1].lower()))), p[1]))
        return " > ".join(f"[{number}]" for number, _ in ranked)


@pytest.fixture(scope="module")
def teacher() -> Iterator[Teacher]:
    teacher = Teacher()
    yield teacher
    teacher.gate.set()


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    folder = tmp_path_factory.mktemp("teach")
    files = []
    for topic, fact in FACTS.items():
        files.append(folder / f"{topic}.md")
        sentence = f"{fact[0].upper()}{fact[1:]}. "
        files[-1].write_text(f"# The {topic}\n\n{sentence * 3}", encoding="utf-8")
    paths = DataPaths(folder / "data")
    for _ in add_files(paths, "facts", files, load_encoder(DEFAULT_ENCODER, paths)):
        pass
    return paths


@pytest.fixture(scope="module")
def address(paths: DataPaths, teacher: Teacher) -> Iterator[str]:
    """Where the page listens; whatever is still being taught in the end is ended."""
    with ScriptedEndpoint(teacher) as endpoint:
        settings = Settings(
            data_dir=paths.root,
            openai_base_url=endpoint.base_url,
            openai_api_key=KEY,
            llm_model="scripted",
            app_demo=False,
            app_port=_free_port(),
        )
        bench = assemble(settings, paths)
        opened = launch(bench, settings)
        yield f"http://127.0.0.1:{settings.app_port}/"
        jobs = Jobs(paths)
        if job := jobs.running():
            jobs.end(job.name)
        opened.close(verbose=False)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.fail("There is no Chromium for the browser test: run make test, which installs it.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A visitor's page on the Teach tab; its console may not complain, and no other host may be asked."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    wrongs: list[str] = []

    def see(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrongs.append(message.text)

    page.on("console", see)
    page.on("pageerror", lambda error: wrongs.append(str(error)))
    page.on("request", lambda request: None if "127.0.0.1" in request.url[:20] else wrongs.append(request.url[:60]))
    page.goto(address)
    open_tab(page, "Teach")
    yield page
    context.close()
    assert [wrong for wrong in wrongs if not wrong.startswith(("data:", "blob:"))] == []


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def shoot(page: Page, name: str) -> None:
    """Keeps the tab in both themes and at the width of a telephone."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)
    page.evaluate("document.body.classList.add('dark')")
    page.screenshot(path=ARTIFACTS / f"{name}-dark.png", full_page=True)
    page.evaluate("document.body.classList.remove('dark')")
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    page.screenshot(path=ARTIFACTS / f"{name}-390.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})


def test_before_anything_runs_the_page_says_what_it_would_ask(page: Page, paths: DataPaths) -> None:
    expect(page.locator("#teach-corpus input")).to_have_value("facts")
    expect(page.locator("#teach-foreseen")).to_contain_text("calls of scripted would read")
    expect(page.locator("#teach-runs")).to_contain_text("No retriever has been taught yet")
    page.get_by_label("Upload a file").check()
    expect(page.locator("#teach-foreseen")).to_contain_text("Upload a file of questions first")
    page.get_by_label("Another endpoint").check()
    expect(page.locator("#teach-url")).to_be_visible()
    assert not paths.runs.exists()
    shoot(page, "teach-empty")


def test_a_run_begins_with_one_click_and_survives_a_reload(page: Page, teacher: Teacher) -> None:
    page.locator("#teach-n input").fill("10")
    page.locator("#teach-button").click()
    expect(page.locator("#teach-message")).to_contain_text("'facts-taught-1' has begun")
    expect(page.locator("#teach-headline")).to_contain_text("going on")
    expect(page.locator("#teach-stages [aria-current=step]")).to_contain_text("tried out", timeout=TEACHING_MS)
    page.reload()
    open_tab(page, "Teach")
    expect(page.locator("#teach-headline")).to_contain_text("facts-taught-1")
    expect(page.locator("#teach-stages [aria-current=step]")).to_contain_text("tried out")
    shoot(page, "teach-running")


def test_a_second_start_is_told_who_runs_what(page: Page) -> None:
    page.locator("#teach-button").click()
    expect(page.locator("#teach-message [role=alert]")).to_contain_text("'facts-taught-1' is being taught for corpus")


def test_a_pause_keeps_what_was_done_and_a_resume_ends_in_a_verdict(
    page: Page, teacher: Teacher, paths: DataPaths
) -> None:
    page.locator("#teach-pause").click()
    expect(page.locator("#teach-headline")).to_contain_text("Paused", timeout=TEACHING_MS)
    assert Jobs(paths).running() is None
    shoot(page, "teach-paused")
    teacher.gate.set()
    page.locator("#teach-resume").click()
    expect(page.locator("#teach-headline")).to_contain_text("going on")
    expect(page.locator("#teach-headline .verdict")).to_contain_text("it never saw", timeout=TEACHING_MS)
    expect(page.locator("#teach-bars tr", has_text="Baseline").first).to_be_visible()
    expect(page.locator("#teach-figures")).to_contain_text("Malformed replies")
    expect(page.locator("#teach-curves svg[role=img]").first).to_be_visible()
    shoot(page, "teach-verdict")


def test_no_key_is_on_disk(paths: DataPaths) -> None:
    """A key in a log, a command or a progress file would be read by whoever gets the data folder."""
    for file in paths.runs.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_the_retriever_is_promoted_and_rolled_back(page: Page, paths: DataPaths) -> None:
    page.locator("#teach-promote").click()
    expect(page.locator("#teach-said")).to_contain_text("answers for corpus 'facts' from now on")
    expect(page.locator("#teach-runs")).to_contain_text("answers now")
    assert promoted(paths, "facts") == "facts-taught-1"
    page.locator("#teach-delete").click()
    page.locator("#teach-confirm").click()
    expect(page.locator("#teach-said")).to_contain_text("Roll it back first")
    page.locator("#teach-rollback").click()
    expect(page.locator("#teach-said")).to_contain_text("The baseline answers for corpus 'facts' again")
    assert promoted(paths, "facts") is None


def test_the_report_is_shown_and_the_run_deleted_after_a_question(page: Page, paths: DataPaths) -> None:
    page.get_by_role("button", name="Report").click()
    expect(page.locator("#teach-report")).to_contain_text("Retrievers")
    page.locator("#teach-delete").click()
    expect(page.locator("#teach-said")).to_contain_text("Delete run 'facts-taught-1'?")
    page.locator("#teach-keep").click()
    assert paths.encoder("facts-taught-1").is_dir()
    page.locator("#teach-delete").click()
    page.locator("#teach-confirm").click()
    expect(page.locator("#teach-said")).to_contain_text("is deleted")
    expect(page.locator("#teach-runs")).to_contain_text("No retriever has been taught yet")
    assert not paths.encoder("facts-taught-1").exists()
    assert not paths.run("facts-taught-1").exists()
