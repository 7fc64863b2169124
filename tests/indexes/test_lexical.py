"""BM25 stays in step with the corpus, and fusion counts each passage once."""

from pathlib import Path

from fakes import KeywordEncoder

from indexes.ingest import add_files, remove_sources
from indexes.lexical import LexicalIndex
from indexes.paths import DataPaths


def add(paths: DataPaths, encoder: KeywordEncoder, file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    list(add_files(paths, "pets", [file], encoder))


def test_rare_words_win_and_passages_without_a_shared_word_are_left_out(
    paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "The animal purrs softly.")
    add(paths, encoder, tmp_path / "dogs.txt", "The animal barks.")
    found = LexicalIndex.open(paths, "pets").search("which animal purrs", 5)
    assert [candidate.passage.source for candidate in found] == ["cats.txt", "dogs.txt"]
    assert LexicalIndex.open(paths, "pets").search("zebra", 5) == []
    assert LexicalIndex.open(paths, "pets").search("?!", 5) == []


def test_the_index_follows_a_change(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "Cats purr.")
    assert LexicalIndex.open(paths, "pets").search("purr", 5)
    add(paths, encoder, tmp_path / "cats.txt", "Cats meow.")
    lexical = LexicalIndex.open(paths, "pets")
    assert lexical.search("purr", 5) == []
    assert [c.passage.text for c in lexical.search("meow", 5)] == ["Cats meow."]


def test_scores_are_given_for_passages_by_id(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "Cats purr.")
    lexical = LexicalIndex.open(paths, "pets")
    (best,) = lexical.search("purr", 5)
    assert lexical.scores("purr", [best.passage.id, "gone"]) == [best.score, 0.0]


def test_opening_again_reads_what_is_kept(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "Cats purr.")
    first = LexicalIndex.open(paths, "pets").search("purr", 5)
    (kept,) = (paths.corpus("pets") / "lexical").iterdir()
    written = {file: file.stat().st_mtime_ns for file in kept.iterdir()}
    assert LexicalIndex.open(paths, "pets").search("purr", 5) == first
    assert {file: file.stat().st_mtime_ns for file in kept.iterdir()} == written
    add(paths, encoder, tmp_path / "cats.txt", "Cats meow.")
    LexicalIndex.open(paths, "pets")
    assert not kept.exists()


def test_a_corpus_without_passages_answers_nothing(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    add(paths, encoder, tmp_path / "cats.txt", "Cats purr.")
    remove_sources(paths, "pets", ["cats.txt"])
    lexical = LexicalIndex.open(paths, "pets")
    assert lexical.search("purr", 5) == []
    assert lexical.scores("purr", ["gone"]) == [0.0]
