"""The page as a person uses it, in a headless browser, with the real encoder and a scripted LLM.

The tests are the steps of one visit, in order: each finds what the ones before it left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import expect_accessible, field, free_port, open_tab, shoot, visit
from playwright.sync_api import Browser, Page, expect
from scripted_endpoint import Message, ScriptedEndpoint

from app.__main__ import assemble, launch
from app.settings import Settings
from app.votes import VoteBook
from distill.prompts import NO_ANSWER
from indexes.encoders.finding import DEFAULT_ENCODER, find_encoder
from indexes.encoders.loading import load_encoder
from indexes.ingest import delete_corpus
from indexes.paths import DataPaths

HOSTILE_NAME = "evil <img src=x onerror=alert(1)>.txt"
HOSTILE_TEXT = (
    "Ravens <script>alert('ran')</script> remember faces <img src=x onerror=alert('ran')> for years. "
    "${alert('ran')} {{constructor}} <a href='https://evil.example/'>link</a>"
)
FILES = {
    "tides.md": "# Tides\n\nTides rise and fall because the moon pulls the sea.\n\n# Harbours\n\nHarbours need depth.",
    "bread.txt": "Sourdough bread rises slowly with wild yeast, which ferments the dough overnight.",
    "birds.jsonl": "".join(
        f'{{"id": "bird-{n}", "title": "{name}", "text": "The {name} {habit}."}}\n'
        for n, (name, habit) in enumerate(
            [("heron", "waits in shallow water for fish"), ("swift", "sleeps while flying"), ("wren", "sings loudly")]
        )
    ),
    "empty.txt": "",
    HOSTILE_NAME: HOSTILE_TEXT,
}


def reply(messages: list[Message]) -> str:
    """Cites the second passage, and answers in Markdown that tries to load and run something."""
    prompt = str(messages[-1]["content"])
    if "capital of France" in prompt:
        return NO_ANSWER
    return (
        "The **moon** pulls the sea [2], says [1, 3].\n\n![tracker](https://evil.example/x.png) "
        "<script>alert('ran')</script> [out](https://evil.example/) [99]"
    )


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(reply, delay_s=0.01) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, started_before: Callable[[Path], DataPaths]) -> DataPaths:
    return started_before(tmp_path_factory.mktemp("page") / "data")


@pytest.fixture(scope="module")
def address(paths: DataPaths, endpoint: ScriptedEndpoint) -> Iterator[str]:
    """Where the real page listens."""
    settings = Settings(
        data_dir=paths.root,
        openai_base_url=endpoint.base_url,
        llm_model="scripted",
        app_demo=False,
        app_port=free_port(),
        app_max_upload_mb=1,
    )
    bench = assemble(settings, paths)
    opened = launch(bench, settings)
    bench.background.start()
    yield f"http://127.0.0.1:{settings.app_port}/"
    bench.background.stop()
    opened.close(verbose=False)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A visitor's page; at the end, nothing wrong may have been seen on it."""
    with visit(browser, address) as page:
        yield page


def test_the_empty_page_says_what_to_do(page: Page) -> None:
    expect(page.locator("#ask-retriever")).to_contain_text("There is no corpus yet")
    open_tab(page, "Compare")
    expect(page.locator("#compare-teach")).to_contain_text("There is no corpus yet")
    open_tab(page, "Corpora")
    expect(page.locator("#corpora-table")).to_contain_text("There is no corpus yet")
    open_tab(page, "Ask")
    field(page, "ask-question").fill("Anything?")
    field(page, "ask-question").press("Enter")
    expect(page.locator("#ask-answer")).to_contain_text("Add files on the Corpora tab first")


@pytest.mark.parametrize("width", [1280, 390])
def test_own_files_are_dropped_asked_and_opened_though_the_page_is_left_meanwhile(
    page: Page, paths: DataPaths, tmp_path: Path, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    (tmp_path / "rivers.md").write_text("# Rapids\n\nRapids form where a bed of hard rock drops.", encoding="utf-8")
    page.locator("#ask-drop input[type=file]").set_input_files(tmp_path / "rivers.md")
    expect(page.locator("#ask-drop")).not_to_contain_text("rivers")  # it is taken over
    page.reload()
    page.get_by_text("What is said about Rapids?").click()
    expect(page.locator("#ask-answer .answer.done")).to_contain_text("The moon pulls the sea")
    page.locator("#ask-answer a.citation").first.click()
    page.locator("#ask-passage-1 button[data-thumb=place]").click()
    expect(page.locator("#ask-note")).to_contain_text("rivers.md")
    expect_accessible(page)
    assert page.evaluate(_WIDTH) <= width
    delete_corpus(paths, "rivers")


def test_files_are_uploaded_and_indexed_and_other_browsers_learn_of_it(
    page: Page, browser: Browser, address: str, tmp_path: Path
) -> None:
    with visit(browser, f"{address}?tab=corpora") as idle:
        expect(idle.locator("#corpora-table")).to_contain_text("There is no corpus yet")
        upload_files(page, tmp_path)
        expect(idle.locator("#corpora-table")).to_contain_text("field notes")
        idle.locator("#add-stop").click()
        expect(idle.locator("#add-progress")).to_contain_text("Nothing that was added from this browser is under way")


def upload_files(page: Page, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    open_tab(page, "Corpora")
    field(page, "add-corpus").fill("field notes")
    field(page, "add-corpus").press("Enter")
    page.locator("#add-files input[type=file]").set_input_files([tmp_path / name for name in FILES])
    expect(page.locator("#add-files")).to_contain_text("birds")
    page.locator("#add-button").click()
    expect(page.locator("#add-progress")).to_contain_text("4 files of corpus 'field notes' can be asked now")
    outcomes = page.locator("#add-outcomes")
    expect(outcomes.locator("tr", has_text="empty.txt")).to_contain_text("The file is empty.")
    expect(outcomes.locator("tr", has_text="birds.jsonl")).to_contain_text("read33")
    expect(outcomes.locator("tr", has_text="evil")).to_contain_text("read11")
    expect(page.locator("#corpora-table")).to_contain_text("field notes")
    expect(page.locator("#sources-table")).to_contain_text("tides.md")
    shoot(page, "corpora")


def test_a_question_is_answered_with_citations_that_open_their_passage(page: Page) -> None:
    for typed, direction in (("متى يرتفع المد؟", "rtl"), ("Why do the tides rise?", "ltr")):
        field(page, "ask-question").fill(typed)
        expect(field(page, "ask-question")).to_have_css("direction", direction)
    field(page, "ask-question").press("Enter")
    expect(page.locator("#ask-passages details").first).to_contain_text("Tides")
    answer = page.locator("#ask-answer .answer.done")
    expect(answer).to_contain_text("The moon pulls the sea")
    expect(answer).to_contain_text("[99]")
    expect(answer.locator("a.citation")).to_have_text(["2", "1", "3"])
    expect(page.locator("#ask-answer img, #ask-answer script, #ask-answer a:not(.citation)")).to_have_count(0)
    second = page.locator("#ask-passage-2")
    expect(second).not_to_have_attribute("open", re.compile(".*"))
    answer.locator("a.citation", has_text="2").click()
    expect(second).to_have_attribute("open", "")
    expect(second.locator(".source")).to_be_in_viewport()
    expect(page.locator("#ask-button")).to_be_enabled()
    page.locator("#ask-passage-1 summary").click()
    page.locator("#ask-passage-1").get_by_role("button", name="Show in the file").click()
    place = page.locator("#ask-note .place")
    expect(place.locator(".here")).to_contain_text("Tides rise and fall")
    expect(place.get_by_role("heading", name="Harbours")).to_be_in_viewport()
    shoot(page, "ask")


@pytest.mark.parametrize("width", [1280, 390])
def test_who_returns_finds_the_conversation_and_a_link_asks_in_another_browser(
    page: Page, browser: Browser, address: str, endpoint: ScriptedEndpoint, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.locator("#ask-retriever").get_by_role("radio", name="Words", exact=True).check()
    field(page, "ask-question").fill("Why do the tides rise?")
    field(page, "ask-question").press("Enter")
    expect(page.locator("#ask-answer .answer.done")).to_be_visible()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#ask-asked a.link").click()
    expect(page.locator("#ask-asked a.link")).to_have_text("Copied")
    assert page.locator("#ask-answer .answer.done").is_visible(), "the page was left"
    n_asked = len(endpoint.requests)
    with visit(browser, page.evaluate("navigator.clipboard.readText()")) as other:
        other.set_viewport_size({"width": width, "height": 900})
        expect(other.locator("#ask-answer .answer.done")).to_be_visible()
        expect(other.locator("#ask-asked")).to_contain_text("Why do the tides rise?")
        expect(other.locator("#ask-retriever").get_by_role("radio", name="Words", exact=True)).to_be_checked()
        assert len(endpoint.requests) == n_asked + 1
    endpoint.reply = lambda messages: (
        "Why do the tides <b>fall</b>?" if "Last question" in str(messages[-1]["content"]) else reply(messages)
    )
    try:
        page.locator("body").press("/")
        expect(field(page, "ask-question")).to_be_focused()
        page.keyboard.type("And fall?")
        page.keyboard.press("Enter")
        expect(page.locator("#ask-asked")).to_contain_text("Searched for: Why do the tides <b>fall</b>?")
        expect(page.locator("#ask-answer .answer.done")).to_be_visible()
        expect(page.locator("#ask-earlier")).to_contain_text("Why do the tides rise?")
        if width > 390:
            shoot(page, "ask-follow-up")
        page.locator("#ask-fresh").click()
        expect(page.locator("#ask-earlier")).not_to_contain_text("tides")
        page.goto(address)
        page.locator("#ask-conversations > button").click()
        field(page, "conversation").click()
        page.get_by_role("option", name="Why do the tides rise?", exact=True).click()
        expect(page.locator("#ask-earlier")).to_contain_text("And fall?")
        with page.expect_download() as download:
            page.locator("#conversation-export").click()
        assert "Sources:" in Path(download.value.path()).read_text(encoding="utf-8")
        assert page.evaluate(_WIDTH) <= width
        page.locator("#conversation-delete").click()
        expect(page.locator("#ask-conversations")).to_be_hidden()
    finally:
        endpoint.reply = reply


def test_hostile_text_and_names_are_shown_and_never_run(page: Page) -> None:
    field(page, "ask-question").fill("Which birds remember faces? <img src=x onerror=alert('ran')>")
    page.locator("#ask-button").click()
    expect(page.locator("#ask-answer .answer.done")).to_be_visible()
    raven = page.locator("#ask-passages details", has_text="remember faces")
    raven.locator("summary").click()
    expect(raven.locator(".text")).to_contain_text("<script>alert('ran')</script>")
    expect(raven.locator(".text")).to_contain_text("${alert('ran')} {{constructor}}")
    expect(raven.locator("img, script, a")).to_have_count(0)


def test_a_question_that_the_corpus_cannot_answer_is_refused(page: Page) -> None:
    field(page, "ask-question").fill("What is the capital of France?")
    field(page, "ask-question").press("Enter")
    expect(page.locator("#ask-answer")).to_contain_text(NO_ANSWER)
    expect(page.locator("#ask-answer a.citation")).to_have_count(0)


def test_stop_keeps_what_came(page: Page, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply, endpoint.delay_s = (lambda messages: "word " * 500), 0.05
    try:
        field(page, "ask-question").fill("Why do the tides rise?")
        page.locator("#ask-button").click()
        expect(page.locator("#ask-answer")).to_contain_text("word word")
        page.locator("#ask-stop").click()
        expect(page.locator("#ask-answer")).to_contain_text("Stopped.")
        expect(page.locator("#ask-answer")).to_contain_text("word word")
        expect(page.locator("#ask-button")).to_be_enabled()
    finally:
        endpoint.reply, endpoint.delay_s = reply, 0.01


def test_a_failing_llm_is_told_in_a_sentence_beside_the_passages(page: Page, endpoint: ScriptedEndpoint) -> None:
    endpoint.fail(401)
    try:
        field(page, "ask-question").fill("Why do the tides rise?")
        field(page, "ask-question").press("Enter")
        expect(page.locator("#ask-answer [role=alert]")).to_contain_text("OPENAI_API_KEY")
        expect(page.locator("#ask-passages details").first).to_be_visible()
    finally:
        endpoint.recover()
    page.wait_for_timeout(1000)  # the event ends a moment after its last words, and until then takes no other
    page.locator("#ask-retry").click()
    expect(page.locator("#ask-answer .answer.done")).to_contain_text("The moon pulls the sea")


def test_a_retriever_taught_meanwhile_appears_and_is_compared(page: Page, paths: DataPaths) -> None:
    """The index comes from elsewhere, as from `python -m distill run` while the page is open."""
    open_tab(page, "Compare")
    expect(page.locator("#compare-teach")).to_contain_text("Open the Teach tab")
    _index_with_another_encoder(paths, "notes-taught")

    page.reload()
    expect(page.get_by_role("tab", name="Compare", exact=True)).to_have_attribute("aria-selected", "true")
    open_tab(page, "Ask")
    page.locator("#ask-retriever").get_by_role("radio", name="Taught", exact=True).check()
    expect(page.locator("#ask-retriever")).to_contain_text("as learned from questions about this corpus")
    field(page, "ask-question").fill("Which bird sleeps in the air?")
    field(page, "ask-question").press("Enter")
    expect(page.locator("#ask-answer .answer.done")).to_be_visible()
    expect(page.locator("#ask-passages")).to_contain_text("swift")

    open_tab(page, "Compare")
    expect(field(page, "left-retriever")).to_have_value("Baseline")
    expect(field(page, "right-retriever")).to_have_value("Taught")
    field(page, "compare-question").fill("Which bird sleeps in the air?")
    field(page, "compare-question").press("Enter")
    expect(page.locator("#compare-summary")).to_contain_text("passages were found by both")
    for side in ("left", "right"):
        expect(page.locator(f"#{side}-answer .answer.done")).to_contain_text("The moon pulls the sea")
        expect(page.locator(f"#{side}-passage-1")).to_be_visible()
    expect(page.locator("#right-passage-1 .move")).to_be_visible()
    page.locator("#right-answer a.citation").first.click()
    expect(page.locator("#right-passage-2")).to_have_attribute("open", "")
    expect(page.locator("#left-passage-2")).not_to_have_attribute("open", re.compile(".*"))
    shoot(page, "compare")

    page.locator("#compare-blind label").click()
    field(page, "compare-question").press("Enter")
    # The open comparison before this one has a ballot too: only what is shown after it must not tell.
    expect(page.locator("#compare-summary")).not_to_contain_text("Baseline")
    expect(page.locator("#left-answer .answer.done")).to_be_visible()
    expect(page.locator("#compare-ballot")).to_be_visible()
    for place in ("compare-summary", "left-title", "right-title", "left-answer", "right-answer", "compare-passages"):
        shown = page.locator(f"#{place}").inner_html()
        assert not re.search("baseline|distilled|taught| ms|score|after", shown, re.IGNORECASE), place
    page.locator("#left-passage-1 summary").click()
    page.locator("#left-passage-1 button[data-thumb=up]").click()
    expect(page.locator("#left-passage-1 button[data-thumb=up]")).to_have_attribute("aria-pressed", "true")
    page.locator("#vote-right").click()
    expect(page.locator("#compare-note")).to_contain_text("Thank you, your vote is kept. Left was")
    expect(page.locator("#compare-score")).to_contain_text("decided votes")
    expect(page.locator("#right-title")).to_contain_text(re.compile("Baseline|Taught"))
    shoot(page, "compare-voted")
    page.locator("#vote-left").click()
    expect(page.locator("#compare-note [role=alert]")).to_contain_text("that vote stands")
    book = VoteBook(paths.votes)
    assert [vote.verdict for vote in book.votes()] == ["right"]
    assert [thumb.thumb for thumb in book.thumbs()] == ["up"]


def test_on_a_telephone_an_answer_is_read_in_place_and_compared(page: Page, endpoint: ScriptedEndpoint) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("#ask-retriever")).to_contain_text("Taught")
    endpoint.reply, endpoint.delay_s = (
        (lambda messages: f"{reply(messages)}\n\n{'The moon pulls the sea [1]. ' * 8}"),
        0.04,
    )
    try:
        page.evaluate(_COUNT_SHIFTS)
        field(page, "ask-question").fill("Why do the tides rise?")
        page.locator("#ask-button").click()
        expect(page.locator("#ask-answer .answer.done")).to_contain_text("The moon pulls the sea")
        page.wait_for_timeout(500)
        assert page.evaluate("window.shifted") < 0.05, "what is read stays where it is while the answer is written"
    finally:
        endpoint.reply, endpoint.delay_s = reply, 0.01
    expect(page.locator("#ask-answer .answer")).to_be_in_viewport()
    field(page, "ask-question").focus()
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", "focus is seen"
    page.locator("#ask-answer a.citation").first.click()
    expect(page.locator("#ask-passage-2 .source")).to_be_in_viewport()
    assert page.evaluate(_WIDTH) <= 390
    open_tab(page, "Compare")
    field(page, "compare-question").fill("Why do the tides rise?")
    page.locator("#compare-button").click()
    for side in ("left", "right"):
        expect(page.locator(f"#{side}-answer .answer.done")).to_contain_text("The moon pulls the sea")
    page.locator("#vote-tie").click()
    expect(page.locator("#compare-note")).to_contain_text("Thank you, your vote is kept")
    assert page.evaluate(_WIDTH) <= 390
    expect_accessible(page)


_WIDTH = "document.documentElement.scrollWidth"
# The sum of all shifts that follow no click within half a second: more than the worst five seconds, which are CLS.
_COUNT_SHIFTS = """() => {
  window.shifted = 0;
  const count = (list) => list.getEntries().forEach((each) => {
    if (!each.hadRecentInput && each.startTime > since) window.shifted += each.value;
  });
  const since = performance.now();
  new PerformanceObserver(count).observe({type: 'layout-shift', buffered: true});
}"""


def test_a_file_and_then_the_corpus_are_deleted_after_a_question(page: Page) -> None:
    open_tab(page, "Corpora")
    field(page, "sources-picked").click()
    page.get_by_role("option", name="bread.txt").click()
    page.keyboard.press("Escape")
    page.locator("#delete-sources").click()
    expect(page.locator("#delete-question")).to_contain_text("Delete 1 file of corpus 'field notes'")
    page.locator("#delete-confirm").click()
    expect(page.locator("#delete-question")).to_contain_text("Deleted")
    expect(page.locator("#sources-table")).not_to_contain_text("bread.txt")
    page.locator("#delete-corpus").click()
    page.locator("#delete-keep").click()
    expect(page.locator("#corpora-table")).to_contain_text("field notes")
    page.locator("#delete-corpus").click()
    page.locator("#delete-confirm").click()
    expect(page.locator("#corpora-table")).to_contain_text("There is no corpus yet")


def _index_with_another_encoder(paths: DataPaths, name: str) -> None:
    """Saves an encoder that differs a little from the default one, and indexes the corpus with it."""
    import torch
    from sentence_transformers import SentenceTransformer

    from indexes.ingest import add_files

    model = SentenceTransformer(str(find_encoder(DEFAULT_ENCODER, paths)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model[0].parameters():
            weights.add_(0.1 * weights.std() * torch.randn(weights.shape, generator=generator))
    model.save_pretrained(str(paths.encoder(name)))
    for _ in add_files(paths, "field notes", [], load_encoder(name, paths)):
        pass
