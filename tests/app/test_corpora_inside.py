"""Inside a corpus: words are found and marked, passages have their place on a map, indexes come in step again."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.handlers import corpora
from app.passage_map import draw_map, find_plane, make_map, sample
from app.plots import to_svg
from app.rendering import hits_html, mark_words
from app.workbench import Workbench
from indexes.corpus import Corpus
from indexes.ingest import add_files, delete_corpus
from indexes.types import Candidate, Passage, Vectors

WriteFiles = Callable[[dict[str, str]], list[str]]


def test_words_are_marked_and_everything_else_is_escaped() -> None:
    marked = mark_words("<b>Bees</b> & bee, BEES", ["bees", "b"])
    assert marked.count("<mark>") == 4
    assert "<b>" not in marked
    assert "<mark>Bees</mark>" in marked
    assert mark_words("<i>", []) == "&lt;i&gt;"


def test_a_regular_expression_is_searched_as_it_is_written() -> None:
    assert mark_words("a.c abc", ["a.c"]) == "<mark>a.c</mark> abc"
    assert mark_words("火灾时请走", ["火灾", "灾时"]) == "<mark>火灾</mark>时请走"
    assert mark_words("की छुट्टी है", ["छुट्टी"]) == "की <mark>छुट्टी</mark> है"


def test_the_passages_that_have_the_words_are_found(bench: Workbench, corpus: str) -> None:
    html = corpora.search_inside(bench, corpus, "honey bees")
    assert "<mark>Honey</mark> <mark>bees</mark>" in html
    assert "tides.txt" not in html
    assert "No passage has any" in corpora.search_inside(bench, corpus, "zeppelin")


def test_a_hit_far_into_a_passage_is_shown_where_it_is() -> None:
    passage = Passage(id="p", document_id="d", source="s.txt", text="word " * 200 + "needle in hay")
    assert (
        "<mark>needle</mark>"
        in hits_html([Candidate(passage=passage, score=1.0)], ["needle"], 20).split("</summary>")[0]
    )


@pytest.mark.parametrize(
    ("named", "words", "sentence"),
    [("nature", " ", "Type"), ("gone", "x", "There is no corpus")],
)
def test_what_cannot_be_searched_gives_a_sentence(
    bench: Workbench, corpus: str, named: str | None, words: str, sentence: str
) -> None:
    assert sentence in corpora.search_inside(bench, named, words)


def test_before_the_page_has_picked_a_corpus_the_first_one_is_meant(bench: Workbench, corpus: str) -> None:
    assert "tides.txt" in corpora.search_inside(bench, None, "tides")


def test_without_any_corpus_a_search_says_so(bench: Workbench) -> None:
    assert "no corpus yet" in corpora.search_inside(bench, None, "tides")


def test_the_plane_shows_the_directions_of_most_difference() -> None:
    generator = np.random.default_rng(0)
    vectors = np.zeros((200, 6), dtype=np.float32)
    vectors[:, 2] = generator.normal(0, 5, 200)
    vectors[:, 4] = generator.normal(0, 2, 200)
    vectors[:, 0] = generator.normal(0, 0.1, 200)
    plane = find_plane(vectors)
    assert np.abs(plane.axes).argmax(axis=1).tolist() == [2, 4]
    assert plane.share > 0.99
    assert np.allclose(plane.place(vectors).mean(axis=0), 0, atol=1e-4)


def test_passages_that_are_all_alike_have_a_map_too() -> None:
    plane = find_plane(np.ones((3, 4), dtype=np.float32))
    assert plane.share == 0.0
    assert np.isfinite(plane.place(np.ones((3, 4), dtype=np.float32))).all()


def test_a_large_corpus_is_sampled_alike_each_time() -> None:
    passages = [Passage(id=f"{n}", document_id="d", source="s", text="t") for n in range(100)]
    assert sample(passages, 10) == sample(passages, 10)
    assert len(sample(passages, 10)) == 10
    assert sample(passages, 100) == passages


class Store:
    """Three vectors a passage, from its id."""

    def vectors(self, ids: list[str]) -> Vectors:
        return np.array([[len(each), ord(each[-1]), 1.0] for each in ids], dtype=np.float32)


def test_a_map_shows_names_and_texts_and_never_runs_them() -> None:
    evil = "<script>alert(1)</script>"
    passages = [Passage(id=f"{n}", document_id=evil, source=f"{evil}{n % 2}", text=evil) for n in range(5)]
    svg = to_svg(draw_map(make_map("any", passages, Store())))  # type: ignore[arg-type]
    assert "<script" not in svg
    assert svg.count("<circle") == 5 + 2


def test_a_question_rings_what_both_retrievers_found(bench: Workbench, corpus: str, taught: str) -> None:
    view = corpora.show_map(bench, corpus, "Why do tides rise?", None)
    assert "found by Baseline" in view.picture
    assert "found by Taught" in view.picture
    assert "were found by both retrievers" in view.picture
    again = corpora.show_map(bench, corpus, "", view.kept)
    assert again.kept is view.kept
    assert "All 4 passages" in again.picture


def test_a_changed_corpus_gets_a_new_map(bench: Workbench, corpus: str, write_files: WriteFiles) -> None:
    first = corpora.show_map(bench, corpus, "", None)
    files = [Path(file) for file in write_files({"salt.txt": "Salt comes from the sea."})]
    for _ in add_files(bench.paths, corpus, files, bench.retrievers.encoder("keywords")):
        pass
    assert "All 5 passages" in corpora.show_map(bench, corpus, "", first.kept).picture
    delete_corpus(bench.paths, corpus)
    gone = corpora.show_map(bench, corpus, "", first.kept)
    assert "There is no corpus" in gone.picture
    assert gone.kept is None


def test_the_index_of_a_corpus_is_brought_in_step(bench: Workbench, corpus: str) -> None:
    Corpus.open(bench.paths, corpus).forget_index("keywords")
    corpora.reindex(bench, corpus)
    while bench.background.is_busy:
        time.sleep(0.01)
    assert "in step" in corpora.list_corpora_view(bench, corpus).said
    assert [info.encoder for info in Corpus.open(bench.paths, corpus).indexes()] == ["keywords"]
    assert "There is no corpus" in corpora.reindex(bench, "gone").said


def test_a_zip_is_read_as_its_files(
    bench: Workbench, tmp_path: Path, upload: Callable[[list[str], str], corpora.CorporaView]
) -> None:
    file = tmp_path / "notes.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/one.txt", "Bees dance.")
        archive.writestr("b/one.txt", "Tides rise.")
        archive.writestr("b/empty.txt", "")
    last = upload([str(file)], "zipped")
    assert [each.source for each in Corpus.open(bench.paths, "zipped").sources()] == [
        "notes.zip/a/one.txt",
        "notes.zip/b/one.txt",
    ]
    assert "The file is empty." in last.outcomes


def test_of_a_folder_only_files_that_can_be_read_are_taken() -> None:
    given = ["/up/notes.md", "/up/photo.jpg", "/up/.hidden.txt", "/up/more.zip"]
    chosen, said = corpora.choose_of_folder(given, [])
    assert chosen == ["/up/notes.md", "/up/more.zip"]
    assert "1 file passed over: .jpg 1" in said
    assert corpora.choose_of_folder(["/up/notes.md"], ["/up/first.txt"]) == (["/up/first.txt", "/up/notes.md"], "")
    assert corpora.choose_of_folder(None, None) == ([], "")


def test_sizes_and_encoders_of_every_corpus_are_shown(bench: Workbench, corpus: str, taught: str) -> None:
    table = corpora.list_corpora_view(bench, corpus).corpora
    assert "keywords (4)" in table
    assert f"{taught} (4)" in table
    assert " B<" in table
