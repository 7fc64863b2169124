"""Encoders that embed passages alike share one collection, and nothing else about indexes changes by it."""

from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.corpus import Corpus, list_corpora
from indexes.errors import EncoderMismatchError, NotFoundError
from indexes.ingest import add_files, remove_sources, update_index
from indexes.passage_index import PassageIndex, delete_index
from indexes.paths import DataPaths


@pytest.fixture
def base(paths: DataPaths, tmp_path: Path) -> KeywordEncoder:
    """An encoder with an index of two files."""
    for name, text in (("cats.txt", "Cats purr."), ("dogs.txt", "Dogs bark.")):
        (tmp_path / name).write_text(text)
    encoder = KeywordEncoder("base")
    list(add_files(paths, "pets", [tmp_path / "cats.txt", tmp_path / "dogs.txt"], encoder))
    return encoder


def build(paths: DataPaths, encoder: KeywordEncoder) -> None:
    list(update_index(paths, Corpus.open(paths, "pets"), encoder))


def fingerprints(paths: DataPaths) -> dict[str, str]:
    (info,) = list_corpora(paths)
    return {index.encoder: index.fingerprint for index in info.indexes}


def test_the_second_encoder_embeds_nothing_and_stores_nothing(paths: DataPaths, base: KeywordEncoder) -> None:
    taught = KeywordEncoder("taught")
    build(paths, taught)
    assert taught.n_encoded_passages == 0
    assert len(set(fingerprints(paths).values())) == 1
    assert PassageIndex.open(paths, "pets", taught).search("who does bark", 1)[0].passage.source == "dogs.txt"


@pytest.mark.parametrize("deleted", ["base", "taught"])
def test_deleting_one_index_leaves_the_other(paths: DataPaths, base: KeywordEncoder, deleted: str) -> None:
    taught = KeywordEncoder("taught")
    build(paths, taught)
    encoders = {"base": base, "taught": taught}
    delete_index(paths, Corpus.open(paths, "pets"), deleted)
    with pytest.raises(NotFoundError, match="no index by encoder"):
        PassageIndex.open(paths, "pets", encoders.pop(deleted))
    (kept,) = encoders.values()
    assert PassageIndex.open(paths, "pets", kept).n_passages == 2
    delete_index(paths, Corpus.open(paths, "pets"), kept.name)
    build(paths, kept)
    assert kept.n_encoded_passages == (4 if kept is base else 2), "the vectors of a collection nobody uses are gone"


def test_an_encoder_with_other_vectors_gets_its_own_and_is_refused_the_shared(
    paths: DataPaths, base: KeywordEncoder
) -> None:
    build(paths, KeywordEncoder("taught"))
    changed = KeywordEncoder("taught", fingerprint="fake-2")
    with pytest.raises(EncoderMismatchError, match=r"fake-1.*fake-2"):
        PassageIndex.open(paths, "pets", changed)
    with pytest.raises(EncoderMismatchError):
        PassageIndex.open(paths, "pets", KeywordEncoder("taught", dimension=64))
    build(paths, changed)
    assert changed.n_encoded_passages == 2
    assert len(set(fingerprints(paths).values())) == 2
    assert PassageIndex.open(paths, "pets", base).n_passages == 2


def test_a_changed_base_leaves_the_old_vectors_to_who_shares_them(paths: DataPaths, base: KeywordEncoder) -> None:
    taught = KeywordEncoder("taught")
    build(paths, taught)
    build(paths, KeywordEncoder("base", fingerprint="fake-2"))
    assert PassageIndex.open(paths, "pets", taught).n_passages == 2
    assert taught.n_encoded_passages == 0


def test_a_changed_corpus_is_embedded_once_and_counted_for_both(
    paths: DataPaths, base: KeywordEncoder, tmp_path: Path
) -> None:
    taught = KeywordEncoder("taught")
    build(paths, taught)
    (tmp_path / "mice.txt").write_text("Mice squeak.")
    list(add_files(paths, "pets", [tmp_path / "mice.txt"], taught))
    assert (base.n_encoded_passages, taught.n_encoded_passages) == (2, 1)
    (info,) = list_corpora(paths)
    assert [index.n_passages for index in info.indexes] == [3, 3]
    remove_sources(paths, "pets", ["mice.txt"])
    assert PassageIndex.open(paths, "pets", base).n_passages == 2
