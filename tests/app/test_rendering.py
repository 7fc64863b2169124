"""Everything that comes from a file, a person or an LLM is shown as text and never runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from app.answering import Answer
from app.comparison import Comparison, find_moves
from app.rendering import (
    answer_html,
    aside_html,
    comparison_html,
    details_html,
    notice_html,
    passage_anchor,
    passages_html,
    source_line,
    to_safe_html,
)
from app.retriever import Choice, Retrieval
from app.tables import corpora_html, format_bytes, outcomes_html, progress_html, sources_html, stages_html
from app.workbench import Stage
from indexes.retrievers import Retriever
from indexes.types import Candidate, CorpusInfo, FileOutcome, IndexInfo, Passage, SourceInfo

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)> ${alert(4)} {{5}}"
SAFE_TAGS = {
    "a", "b", "blockquote", "br", "button", "code", "details", "div", "em", "h1", "h2", "h3", "hr", "i", "li", "ol",
    "p", "pre", "section", "span", "strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip


def retrieval(candidates: Sequence[Candidate], took_ms: float = 1, name: str = "Baseline") -> Retrieval:
    choice = Choice(retriever=Retriever(encoder=name), meaning="")
    return Retrieval(corpus="c", choice=choice, candidates=tuple(candidates), took_ms=took_ms)


class Reader(HTMLParser):
    """Collects tags, attributes and text as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_harmless(html: str) -> Reader:
    reader = Reader(html)
    assert {tag for tag, _ in reader.tags} <= SAFE_TAGS
    for _, attributes in reader.tags:
        assert not any(name.startswith("on") or name in ("src", "srcset", "action") for name in attributes)
        assert str(attributes.get("href") or "#").startswith("#")
    return reader


def a_passage(**changes: object) -> Passage:
    values: dict[str, object] = {"id": "p", "document_id": "d", "source": "a.txt", "text": "Some text."}
    return Passage(**(values | changes))  # type: ignore[arg-type]


def a_retrieval(*passages: Passage) -> Retrieval:
    candidates = tuple(Candidate(passage=passage, score=0.5) for passage in passages)
    return retrieval(candidates, 12.3)


def test_hostile_passages_and_names_are_text() -> None:
    hostile = a_passage(text=HOSTILE, title=HOSTILE, source=HOSTILE, document_id=HOSTILE)
    reader = assert_harmless(passages_html(a_retrieval(hostile), "ask", 5))
    assert reader.text.count("<script>alert(1)</script>") >= 4


@pytest.mark.parametrize(
    "html",
    [
        notice_html(HOSTILE),
        aside_html(HOSTILE),
        progress_html(HOSTILE, 1, 2),
        outcomes_html([FileOutcome(source=HOSTILE, status="failed", reason=HOSTILE)]),
        sources_html([SourceInfo(source=HOSTILE, n_documents=1, n_passages=1, n_bytes=1)]),
        stages_html([Stage(message=HOSTILE), Stage(message=HOSTILE, state="failed")]),
        answer_html(Answer(n_passages=1, state="failed", text=HOSTILE, notice=HOSTILE), "ask"),
        comparison_html(Comparison(sides=(retrieval((), name=HOSTILE),), moves=())),
        corpora_html(
            [
                CorpusInfo(
                    name=HOSTILE,
                    n_sources=1,
                    n_documents=1,
                    n_passages=1,
                    indexes=(IndexInfo(encoder=HOSTILE, fingerprint="f", dimension=1, n_passages=1),),
                )
            ]
        ),
    ],
)
def test_hostile_text_is_shown_everywhere(html: str) -> None:
    assert "<script>alert(1)</script>" in assert_harmless(html).text


@pytest.mark.parametrize(
    "markdown",
    [
        HOSTILE,
        "![tracker](https://evil.example/x.png)",
        "[click](javascript:alert(1)) [out](https://evil.example)",
        "<https://evil.example> https://evil.example",
        "[1]: https://evil.example\n\nSee [1] and [other][1].",
        "<iframe src=https://evil.example></iframe>",
        "```<script>alert(1)</script>\ncode\n```",
        "`<img src=x onerror=alert(1)>`",
        "| a | b |\n|---|---|\n| <script>alert(1)</script> | ![x](https://evil.example) |",
        "- [ ] <style>@import 'https://evil.example'</style>",
        "&lt;script&gt; &#60;script&#62;alert(1)",
    ],
)
def test_markdown_of_an_llm_loads_and_links_nothing(markdown: str) -> None:
    assert_harmless(to_safe_html(markdown, 2, lambda number, claim: f"p{number}"))


def test_markdown_keeps_its_form() -> None:
    html = to_safe_html("**Bold** and `code`\n\n- one\n- two", 0, _no_link)
    assert "<strong>Bold</strong>" in html
    assert "<code>code</code>" in html
    assert html.count("<li>") == 2


def test_citations_open_the_passage_of_the_same_panel() -> None:
    retrieval = a_retrieval(a_passage(id="a"), a_passage(id="b"))
    answer = Answer(n_passages=2, state="done", text="First [1], both [1, 2], none [3].")
    links = [attributes["href"] for tag, attributes in Reader(answer_html(answer, "left")).tags if tag == "a"]
    anchors = {f"#{attributes.get('id')}" for _, attributes in Reader(passages_html(retrieval, "left", 2)).tags}
    assert links == [f"#{passage_anchor('left', number)}" for number in (1, 1, 2)]
    assert set(links) <= anchors
    assert "none [3]" in answer_html(answer, "left")


def test_a_number_in_code_is_no_citation() -> None:
    assert "citation" not in to_safe_html("`x[1]`\n\n```\ny[2]\n```", 2, _no_link)


def test_an_answer_without_citations_says_so_when_it_is_complete() -> None:
    note = "cited no passage"
    assert note in answer_html(Answer(n_passages=1, state="done", text="Bees dance."), "ask")
    assert note not in answer_html(Answer(n_passages=1, state="done", text="Bees dance [1]."), "ask")
    assert note not in answer_html(Answer(n_passages=1, state="writing", text="Bees"), "ask")


def test_a_refusal_is_said_in_our_words() -> None:
    html = answer_html(Answer(n_passages=1, state="done", text="The corpus does not say. [1]"), "ask")
    assert "The corpus does not say." in Reader(html).text
    assert "citation" not in html


def test_a_failed_answer_shows_what_came_and_why() -> None:
    html = answer_html(Answer(n_passages=1, state="failed", text="Half an", notice="The LLM broke off."), "ask")
    assert "Half an" in html
    assert 'role="alert"' in html


def test_a_source_line_says_the_page_or_the_place() -> None:
    assert source_line(a_passage(source="a.pdf", document_id="a.pdf", page=3)) == "a.pdf · page 3"
    assert source_line(a_passage(source="a.csv", document_id="a.csv:7", start=0, end=1200)) == ("a.csv · a.csv:7")


def test_passages_that_the_answer_does_not_read_are_set_apart() -> None:
    retrieval = a_retrieval(*(a_passage(id=str(n)) for n in range(4)))
    html = passages_html(retrieval, "ask", 3)
    assert html.index('id="ask-passage-3"') < html.index("not read") < html.index('id="ask-passage-4"')
    assert "not read" not in passages_html(retrieval, "ask", 4)


def test_moves_are_marked() -> None:
    left = [
        Candidate(passage=a_passage(id=i, document_id=d), score=1) for i, d in ("a1", "b2", "c3", "e5")
    ]  # ids and their documents
    right = [Candidate(passage=a_passage(id=i, document_id=d), score=1) for i, d in ("b2", "a1", "c3", "d4", "f3")]
    found = retrieval(right)
    text = Reader(passages_html(found, "right", 9, find_moves(right, left))).text
    assert re.findall(r"▲ \d|▼ \d|=|→ \d|only here|other passage at \d", text) == [
        "▲ 1",
        "▼ 1",
        "=",
        "only here",
        "other passage at 3",
    ]
    reference = retrieval(left)
    text = Reader(passages_html(reference, "left", 9, find_moves(left, right), is_reference=True)).text
    assert re.findall(r"▲|▼|→ \d|only here", text) == ["→ 2", "→ 1", "→ 3", "only here"]


def test_another_passage_of_a_document_is_no_loss() -> None:
    here = [Candidate(passage=a_passage(id="a2", document_id="a"), score=1)]
    there = [Candidate(passage=a_passage(id=i, document_id=i[0]), score=1) for i in ("b1", "a1")]
    found = retrieval(here)
    text = Reader(passages_html(found, "right", 9, find_moves(here, there))).text
    assert "other passage at 2" in text
    assert "only here" not in text


def test_a_long_list_of_files_is_cut_and_counted_failures_first() -> None:
    outcomes = [FileOutcome(source=f"{n:04}.txt", status="read") for n in range(300)]
    html = outcomes_html([*outcomes, FileOutcome(source="z.pdf", status="failed", reason="Scanned.")])
    assert html.index("z.pdf") < html.index("<details>") < html.index("0000.txt")
    assert "300 files went well" in html and "and 100 more" in html


def test_a_table_in_a_passage_is_shown_as_one_and_stays_safe() -> None:
    text = "Ports:\n| port | depth |\n|---|---|\n| Brest <img src=x> | 7 m |\n\nA | b is no table."
    html = details_html(a_passage(text=text), 1, "", words=["ports"])
    assert "<td>Brest &lt;img src=x&gt;</td>" in html
    assert "<mark>Ports</mark>:" in html and "A | b is no table." in html


@pytest.mark.parametrize(("n_bytes", "shown"), [(0, "0 B"), (999, "999 B"), (1400, "1.4 kB"), (12_000_000, "12.0 MB")])
def test_sizes_are_readable(n_bytes: int, shown: str) -> None:
    assert format_bytes(n_bytes) == shown


def _no_link(number: int, claim: str) -> str:
    return str(number)
