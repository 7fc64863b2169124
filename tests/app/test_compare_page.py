"""Three retrievers side by side as a person compares them, in a headless browser, with fake encoders."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browsing import field, free_port, open_tab, visit
from playwright.sync_api import Browser, Page, expect

from app.__main__ import launch
from app.settings import Settings
from app.votes import VoteBook
from app.workbench import Workbench
from distill.verdict.promotion import promote

QUESTION = "Why do honey bees dance?"


@pytest.fixture
def address(bench: Workbench, taught: str) -> Iterator[str]:
    """Where a page listens that has four retrievers to choose from."""
    port = free_port()
    opened = launch(bench, Settings(data_dir=bench.paths.root, app_port=port))
    yield f"http://127.0.0.1:{port}/"
    opened.close(verbose=False)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A telephone's page; at the end, nothing wrong may have been seen on it."""
    with visit(browser, address) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        yield page


def pick(page: Page, element_id: str, name: str) -> None:
    field(page, element_id).click()
    page.get_by_role("option", name=name, exact=True).click()
    field(page, element_id).press("Escape")  # a list of which several can be picked stays open
    expect(page.get_by_role("option")).to_have_count(0)


def test_three_retrievers_are_compared_blind_and_the_best_is_voted_for(
    page: Page, browser: Browser, address: str, bench: Workbench
) -> None:
    open_tab(page, "Compare")
    expect(field(page, "right-retriever")).to_have_value("Taught")
    pick(page, "more-retrievers", "Words")
    page.locator("#compare-blind label").click()
    field(page, "compare-question").fill(QUESTION)
    field(page, "compare-question").press("Enter")
    expect(page.locator("#compare-ballot button")).to_have_count(4)
    expect(page.locator("#third-answer .answer.done")).to_contain_text("Bees dance")
    for place in ("compare-summary", "compare-answer", "compare-passages"):
        assert not re.search("baseline|taught|lexical|bm25| ms", page.locator(f"#{place}").inner_html(), re.IGNORECASE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing hangs out of a telephone's page"
    page.locator("#third-answer a.citation").first.click()
    expect(page.locator("#third-passage-1")).to_have_attribute("open", "")
    page.locator("#vote-third").click()
    expect(page.locator("#compare-note")).to_contain_text("Thank you, your vote is kept. First was")
    expect(page.locator("#third-title")).to_contain_text(re.compile("Third · (Baseline|Taught|Words)"))
    expect(page.locator("#compare-score")).to_contain_text("pair by pair")
    (vote,) = VoteBook(bench.paths.votes).votes()
    assert vote.winner == vote.sides[2]

    shown = [side.retriever for side in vote.sides]
    link = page.locator("#compare-summary a.link").get_attribute("href")
    labels = {"keywords": "Baseline", "taught": "Taught", "lexical": "Words"}
    with visit(browser, f"{address}{link}") as sent:
        expect(field(sent, "compare-question")).to_have_value(QUESTION)
        expect(field(sent, "left-retriever")).to_have_value(labels[shown[0]])
        expect(field(sent, "right-retriever")).to_have_value(labels[shown[1]])
        expect(sent.locator("#more-retrievers")).to_contain_text(labels[shown[2]])


def test_a_retriever_that_is_promoted_meanwhile_takes_the_right_side_without_a_reload(
    page: Page, bench: Workbench, corpus: str, taught: str
) -> None:
    from indexes.corpus import Corpus
    from indexes.ingest import update_index

    bench.paths.encoder("better").mkdir(parents=True)
    for _ in update_index(bench.paths, Corpus.open(bench.paths, corpus), bench.retrievers.encoder("better")):
        pass
    open_tab(page, "Compare")
    pick(page, "more-retrievers", "Taught: taught")  # the newest is called taught …
    promote(bench.paths, corpus, taught, "a-run")
    open_tab(page, "Ask")
    open_tab(page, "Compare")
    pick(page, "more-retrievers", "Taught: better")  # … until another one is promoted
    expect(field(page, "right-retriever")).to_have_value("Taught")
    pick(page, "right-retriever", "Baseline + words")
    open_tab(page, "Ask")
    open_tab(page, "Compare")
    page.wait_for_timeout(1000)
    expect(field(page, "right-retriever")).to_have_value("Baseline + words")
