"""A passage is shown where it stands in its file, whatever that is made to do."""

import re
import shutil
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from app.sources import source_html
from benchmarks.sample_files import pdf_bytes
from indexes.corpus import Corpus
from indexes.ingest import add_files
from indexes.paths import DataPaths

HOSTILE = "<script>alert(1)</script> [out](https://evil.example/ 'x') ![seen](https://evil.example/x.png) <img src=x>"
MARKDOWN = f"""# Otters

Otters swim.

## Tools

- a stone
- an anvil {HOSTILE}

| tool | kept |
|---|---|
| stone | under the arm |
"""
HTML = (
    "<html><body onload='alert(1)'><h1>Mussels</h1><p>Mussels are <a href='https://evil.example/'>eaten</a>.</p>"
    "<table><tr><th>kind</th><th>size</th></tr><tr><td>blue</td><td>small</td></tr></table>"
    "<img src='https://evil.example/x.png' alt='a mussel'><iframe src='https://evil.example/'></iframe></body></html>"
)
LINES = "".join(f"Line {n} <b> of the log.\n" for n in range(1, 400))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("zoo")
    texts = {
        "otters.md": MARKDOWN,
        "mussels.html": HTML,
        "log.txt": LINES,
        "rows.csv": "id,text\na,One & only\nb,Two\n",
    }
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    (root / "cats.pdf").write_bytes(pdf_bytes(["Cats purr when all is well.", "Dogs bark at every cat."]))
    paths = DataPaths(root / "data")
    for _ in add_files(paths, "zoo", [root / name for name in (*texts, "cats.pdf")], KeywordEncoder()):
        pass
    return Corpus.open(paths, "zoo")


def opened(corpus: Corpus, wanted: str) -> str:
    """The source view of the first passage with these words."""
    passage = next(each for each in corpus.passages() if wanted in each.text)
    return source_html(corpus, passage.document_id, passage.id)


def test_markdown_is_rendered_with_its_headings_and_its_passage_marked(corpus: Corpus) -> None:
    html = opened(corpus, "an anvil")
    assert "<h2>Tools</h2>" in html
    assert '<li class="here">a stone</li>' in html
    assert "<td>under the arm</td>" in html
    assert "<p>Otters swim.</p>" in html


def test_a_page_is_rendered_as_its_markdown(corpus: Corpus) -> None:
    html = opened(corpus, "Mussels are")
    assert "<h1>Mussels</h1>" in html
    assert "<td>blue</td>" in html


@pytest.mark.parametrize("wanted", ["an anvil", "Mussels are", "Line 1 "])
def test_nothing_of_a_file_runs_loads_or_leads_away(corpus: Corpus, wanted: str) -> None:
    html = opened(corpus, wanted)
    tags = re.findall(r"<([a-z]\w*)([^>]*)>", html)
    assert {name for name, _ in tags} <= (
        {"section", "h1", "h2", "h3", "div", "span", "p", "ul", "li", "i", "mark"}
        | {"table", "thead", "tbody", "tr", "th", "td"}
    )
    assert not any(re.search(r"\b(href|src|on\w+)=", attributes) for _, attributes in tags)
    if "evil" in html:
        assert 'title="https://evil.example/"' in html  # where a link would lead is said


def test_text_is_shown_at_its_line(corpus: Corpus) -> None:
    html = opened(corpus, "Line 300 ")
    marked = re.search(r'<span data-line="300"><mark>(.*?)</mark></span>', html)
    assert marked is not None
    assert marked[1] == "Line 300 &lt;b&gt; of the log."


def test_a_record_is_shown_as_it_was_read(corpus: Corpus) -> None:
    html = opened(corpus, "One")
    assert "<mark>One &amp; only</mark>" in html
    assert "data-line" not in html and 'role="alert"' not in html


def test_the_pages_of_a_pdf_are_pictures_with_the_words_marked(corpus: Corpus) -> None:
    html = opened(corpus, "Dogs bark")
    assert re.findall(r'<img alt="([^"]*)"[^>]* src="data:image/webp;base64,', html) == [
        "Page 1 of cats.pdf",
        "Page 2 of cats.pdf",
    ]
    assert html.count("<mark style=") == 2


@pytest.mark.parametrize(
    ("damage", "said"), [("gone", "The kept file is gone"), ("other", "reads otherwise now|The reader failed on")]
)
def test_without_its_file_a_passage_is_shown_as_it_was_read_and_that_is_said(
    corpus: Corpus, tmp_path: Path, damage: str, said: str
) -> None:
    damaged = Corpus(shutil.copytree(corpus.folder, tmp_path / damage))
    for kept in damaged.originals().values():
        kept.unlink() if damage == "gone" else kept.write_bytes(b"Nothing of it is left.\n")
    for wanted in ("Dogs bark", "an anvil", "Line 300 "):
        html = opened(damaged, wanted)
        assert re.search(f"({said}).* This is what was read of it.", html)
        assert wanted in html and str(damaged.folder) not in html


def test_a_passage_that_is_gone_is_said_to_be(corpus: Corpus) -> None:
    assert "not in the corpus any more" in source_html(corpus, "otters.md", "none")
