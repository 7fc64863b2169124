"""Reading, encoding and writing go on side by side, a few batches at a time, and an error of any of them is heard."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fakes import KeywordEncoder

from indexes.corpus import Corpus
from indexes.errors import WeightsError
from indexes.ingest import add_files, update_index
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Vectors

pytestmark = pytest.mark.slow

N_PASSAGES = 1700


class CountingEncoder(KeywordEncoder):
    """Notes how many passages it was given at a time, and fails at batch `fails_at`."""

    def __init__(self, *, fails_at: int = 0) -> None:
        super().__init__("counting", fingerprint="counting-1", dimension=16)
        self.batches: list[int] = []
        self.fails_at = fails_at

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(len(texts))
        if len(self.batches) == self.fails_at:
            raise RuntimeError("the encoder broke")
        return super().encode_passages(texts)


@pytest.fixture
def corpus(paths: DataPaths, tmp_path: Path) -> Corpus:
    """Many passages of other lengths, not indexed by any encoder of these tests."""
    file = tmp_path / "many.csv"
    rows = [f"fact {number} {'about cats ' * (number % 7)}" for number in range(N_PASSAGES)]
    file.write_text("text\n" + "\n".join(rows), encoding="utf-8")
    list(add_files(paths, "facts", [file], KeywordEncoder("first", dimension=16)))
    return Corpus.open(paths, "facts")


def test_every_passage_gets_its_own_vector_and_progress_only_grows(paths: DataPaths, corpus: Corpus) -> None:
    """Threads that mixed two batches up would leave an index that answers, wrongly."""
    encoder = CountingEncoder()
    progress = list(update_index(paths, corpus, encoder))
    assert progress[0] == (0, N_PASSAGES)
    assert progress[-1] == (N_PASSAGES, N_PASSAGES)
    assert progress == sorted(progress)
    assert sum(encoder.batches) == N_PASSAGES
    assert max(encoder.batches) < N_PASSAGES / 3
    passages = list(corpus.passages())
    stored = PassageIndex.open(paths, "facts", encoder).vectors([passage.id for passage in passages])
    assert stored == pytest.approx(encoder.encode_queries([passage.full_text for passage in passages]), abs=1e-3)


def test_an_encoder_that_takes_more_at_once_is_given_more(paths: DataPaths, corpus: Corpus) -> None:
    """And what is more than the store takes in one request is written all the same."""

    class Wide(CountingEncoder):
        batch_size = 1500

    encoder = Wide()
    list(update_index(paths, corpus, encoder))
    assert encoder.batches == [1500, N_PASSAGES - 1500]
    passages = list(corpus.passages())
    stored = PassageIndex.open(paths, "facts", encoder).vectors([passage.id for passage in passages])
    assert stored == pytest.approx(encoder.encode_queries([passage.full_text for passage in passages]), abs=1e-3)


def test_vectors_that_are_no_numbers_are_refused_with_the_encoders_name(paths: DataPaths, corpus: Corpus) -> None:
    """The store's own words blame the disk."""

    class Damaged(KeywordEncoder):
        def encode_passages(self, texts: Sequence[str]) -> Vectors:
            return super().encode_passages(texts) * np.float32("nan")

    with pytest.raises(WeightsError, match="Encoder 'keywords' gave vectors that are no numbers"):
        list(update_index(paths, corpus, Damaged(fingerprint="damaged-1")))
    assert [index.encoder for index in corpus.indexes()] == ["first"]


def test_what_was_written_before_the_encoder_broke_is_kept(paths: DataPaths, corpus: Corpus) -> None:
    encoder = CountingEncoder(fails_at=3)
    with pytest.raises(RuntimeError, match="the encoder broke"):
        list(update_index(paths, corpus, encoder))
    encoder.fails_at = 0
    n_before = sum(encoder.batches[:2])
    encoder.batches.clear()
    list(update_index(paths, corpus, encoder))
    assert sum(encoder.batches) == N_PASSAGES - n_before
