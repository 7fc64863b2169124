"""A promotion is remembered with its history, never points at an index that is not there, and can be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import KeywordEncoder, WordTokenizer

from distill.verdict.promotion import promote, promoted, rollback
from indexes.corpus import Corpus
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths
from indexes.types import IndexInfo

NAME = "nature"


@pytest.fixture
def corpus(paths: DataPaths, tmp_path: Path) -> Corpus:
    """A corpus of one passage with indexes by 'first' and 'second'."""
    corpus = Corpus.open_or_create(paths, NAME, KeywordEncoder())
    add(corpus, tmp_path / "bees.txt")
    for encoder in ("first", "second"):
        record(corpus, encoder)
    return corpus


def add(corpus: Corpus, file: Path) -> None:
    file.write_text(f"Honey bees dance in {file.stem}.", encoding="utf-8")
    corpus.add_file(file.name, file, WordTokenizer())


def record(corpus: Corpus, encoder: str) -> None:
    """Records an index of all passages, as `update_index` does at its end."""
    n_passages = corpus.info().n_passages
    corpus.record_index(IndexInfo(encoder=encoder, fingerprint="f", dimension=2, n_passages=n_passages))


def test_the_last_promotion_counts_and_is_rolled_back_step_by_step(paths: DataPaths, corpus: Corpus) -> None:
    assert promoted(paths, NAME) is None
    promote(paths, NAME, "first", "run-1")
    promote(paths, NAME, "second", "run-2")
    assert promoted(paths, NAME) == "second"
    assert rollback(paths, NAME) == "first"
    assert rollback(paths, NAME) is None
    assert promoted(paths, NAME) is None
    with pytest.raises(InputError, match="none to roll back"):
        rollback(paths, NAME)


def test_the_history_keeps_what_was_rolled_back(paths: DataPaths, corpus: Corpus) -> None:
    promote(paths, NAME, "first", "run-1")
    promote(paths, NAME, "second", "run-2")
    rollback(paths, NAME)
    newest, oldest = Corpus.open(paths, NAME).promotions()
    assert (newest.encoder, newest.run, oldest.encoder, oldest.run) == ("second", "run-2", "first", "run-1")
    assert newest.withdrawn_at >= newest.promoted_at
    assert not oldest.withdrawn_at


def test_a_resumed_run_that_promotes_again_leaves_one_entry_and_one_rollback_undoes_it(
    paths: DataPaths, corpus: Corpus
) -> None:
    promote(paths, NAME, "first", "run")
    promote(paths, NAME, "first", "run")
    assert len(Corpus.open(paths, NAME).promotions()) == 1
    assert rollback(paths, NAME) is None


def test_when_the_promoted_index_is_gone_the_one_before_counts(paths: DataPaths, corpus: Corpus) -> None:
    promote(paths, NAME, "first", "run-1")
    promote(paths, NAME, "second", "run-2")
    corpus.forget_index("second")
    assert promoted(paths, NAME) == "first"
    assert rollback(paths, NAME) is None
    record(corpus, "second")
    assert promoted(paths, NAME) is None, "what was promoted before the one rolled back is not revived"


def test_a_rollback_never_ends_where_it_began(paths: DataPaths, corpus: Corpus) -> None:
    """first, second, first again: with second's index gone, one step back would be first."""
    for encoder in ("first", "second", "first"):
        promote(paths, NAME, encoder, "run")
    corpus.forget_index("second")
    assert rollback(paths, NAME) is None


def test_an_encoder_without_an_index_is_refused_with_the_command_that_builds_it(
    paths: DataPaths, corpus: Corpus
) -> None:
    with pytest.raises(NotFoundError, match=r"no complete index.*python -m indexes add 'nature' --encoder 'third'"):
        promote(paths, NAME, "third", "run")
    assert promoted(paths, NAME) is None


def test_an_index_that_lacks_new_passages_is_refused(paths: DataPaths, corpus: Corpus, tmp_path: Path) -> None:
    add(corpus, tmp_path / "more.txt")
    with pytest.raises(InputError, match="has 1 of 2 passages"):
        promote(paths, NAME, "first", "run")
