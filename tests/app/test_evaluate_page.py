"""The Evaluate and the Corpora tab as a person uses them, in a headless browser, with fake encoders.

The tests are the steps of one visit, in order: each finds what the ones before it left.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import field, free_port, shoot, visit
from fakes import KeywordEncoder
from playwright.sync_api import Browser, Page, expect
from scripted_endpoint import ScriptedEndpoint

from app.__main__ import launch
from app.jobs.jobs import Jobs
from app.retriever import Retrievers
from app.settings import Settings
from app.workbench import Background, Reader, Workbench
from distill.llm.connection import LLMConfig
from indexes.corpus import Corpus
from indexes.ingest import add_files, delete_corpus, update_index
from indexes.paths import DataPaths

CREATURES = ("heron", "otter", "wren", "swift", "badger", "lynx", "toad", "perch", "moth", "adder", "hare", "kite")
PLACES = ("river", "moor", "forest")
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A corpus of three files, indexed by two encoders of which one mixes many words up."""
    folder = tmp_path_factory.mktemp("evaluate")
    paths = DataPaths(folder / "data")
    files = []
    for place in PLACES:
        records = [
            {"id": f"{name}-{place}", "title": f"The {name} {EVIL}", "text": f"The {name} lives by the {place} {EVIL}."}
            for name in CREATURES
        ]
        files.append(folder / f"{place}.jsonl")
        files[-1].write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")

    def load(name: str, paths: DataPaths) -> KeywordEncoder:
        return KeywordEncoder(name, fingerprint=f"of-{name}", dimension=16 if name == "taught" else 256)

    for _ in add_files(paths, "wildlife", files, load("keywords", paths)):
        pass
    paths.encoder("taught").mkdir(parents=True)
    for _ in update_index(paths, Corpus.open(paths, "wildlife"), load("taught", paths)):
        pass
    with ScriptedEndpoint(lambda messages: "It lives by the river [1].", delay_s=0.01) as endpoint:
        config = LLMConfig(base_url=endpoint.base_url, api_key="a-key", model="scripted")
        yield Workbench(
            paths=paths,
            encoder="keywords",
            retrievers=Retrievers(paths, "keywords", load),
            reader=Reader(config, paths),
            background=Background({}),
            jobs=Jobs(paths),
            max_upload_mb=1,
        )


@pytest.fixture(scope="module")
def address(bench: Workbench) -> Iterator[str]:
    """Where the page listens."""
    for attempt in range(5):  # a port that is free now may be somebody's a moment later
        port = free_port()
        try:
            opened = launch(bench, Settings(data_dir=bench.paths.root, app_port=port, app_max_upload_mb=1))
            break
        except OSError:
            if attempt == 4:
                raise
    yield f"http://127.0.0.1:{port}/"
    opened.close(verbose=False)


@pytest.fixture(scope="module")
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The visitor's page; at the end, nothing wrong may have been seen on it."""
    with visit(browser, address) as page:
        yield page


def test_judged_questions_give_figures_pictures_and_files(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Evaluate", exact=True).click()
    page.locator("#evaluate-button").click()
    expect(page.locator("#evaluate-progress")).to_contain_text("Drop a file of judged questions first")
    records = [
        {
            "question": f"Where does the {name} live by the {place}? {EVIL}",
            "positives": [f"{name}-{place}"],
            "answers": [f"by the {place}"],
        }
        for name in CREATURES
        for place in PLACES
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    page.locator("#evaluate-file input[type=file]").set_input_files(file)
    expect(page.locator("#evaluate-file")).to_contain_text("questions")
    page.locator("#evaluate-button").click()
    figures = page.locator("#evaluate-figures table")
    expect(figures.locator("tbody tr")).to_have_count(5)
    expect(figures).to_contain_text("Taught")
    expect(page.locator("#evaluate-charts svg")).to_have_count(3)
    for kind, ending in (("csv", ".csv"), ("trec", ".zip"), ("svg", ".svg")):
        with page.expect_download() as download:
            page.locator(f"#evaluate-{kind}").click()
        assert download.value.suggested_filename.endswith(ending)


def test_a_question_is_looked_into(page: Page) -> None:
    rows = page.locator("#evaluate-questions tbody tr")
    expect(rows.first).to_contain_text("Where does the")
    rows.first.click()
    opened = page.locator("#evaluate-question article")
    expect(opened.locator("section")).to_have_count(2)
    expect(opened.locator(".passage.relevant").first).to_be_visible()
    expect(opened).to_contain_text(EVIL)
    expect(page.locator("#evaluate-question img")).to_have_count(0)
    expect(page.locator("#evaluate-questions img")).to_have_count(0)
    shoot(page, "evaluate")


def test_answers_are_judged_with_a_limit(page: Page) -> None:
    page.get_by_text("Answer quality: ask the LLM too").click()
    expect(field(page, "answers-limit")).to_have_value("20")  # it is there; what is typed before would be lost
    field(page, "answers-limit").fill("2")
    field(page, "answers-limit").blur()
    page.locator("#answers-button").click()
    table = page.locator("#answers-table")
    expect(table).to_contain_text("2 answerable")
    expect(page.locator("#answers-button")).to_be_enabled()
    expect(table.locator("tbody tr")).to_have_count(2)
    expect(table.locator("img")).to_have_count(0)


def test_a_zip_is_added_searched_and_mapped(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Corpora", exact=True).click()
    file = tmp_path / "more.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("bogs/newt.txt", f"The newt lives in the bog. {EVIL}")
        archive.writestr("bogs/empty.txt", "")
    field(page, "add-corpus").fill("wildlife")
    field(page, "add-corpus").press("Enter")
    page.locator("#add-files input[type=file]").set_input_files(file)
    expect(page.locator("#add-files")).to_contain_text("more")
    page.locator("#add-button").click()
    outcomes = page.locator("#add-outcomes")
    expect(outcomes.locator("tr", has_text="newt.txt")).to_contain_text("read")
    expect(outcomes.locator("tr", has_text="empty.txt")).to_contain_text("The file is empty.")
    expect(page.locator("#corpora-table")).to_contain_text("keywords (37)")

    field(page, "inside-words").fill("newt bog")
    field(page, "inside-words").press("Enter")
    hits = page.locator("#inside-hits")
    expect(hits.locator("mark").first).to_have_text("newt")
    expect(hits.locator("img")).to_have_count(0)
    page.get_by_role("button", name="Draw the map").click()
    expect(page.locator("#inside-map svg")).to_be_visible()
    field(page, "inside-question").fill("Where does the newt live?")
    field(page, "inside-question").press("Enter")
    expect(page.locator("#inside-map")).to_contain_text("found by Baseline")
    expect(page.locator("#inside-map")).to_contain_text("found by Taught")
    shoot(page, "corpora-inside")


def test_a_corpus_deleted_in_another_window_is_said(page: Page, bench: Workbench) -> None:
    delete_corpus(bench.paths, "wildlife")
    field(page, "inside-words").fill("otter")
    field(page, "inside-words").press("Enter")
    expect(page.locator("#inside-hits")).to_contain_text("There is no corpus 'wildlife'")
    page.get_by_role("tab", name="Evaluate", exact=True).click()
    page.locator("#evaluate-questions tbody tr").nth(1).click()
    expect(page.locator("#evaluate-question")).to_contain_text("There is no corpus 'wildlife'")
