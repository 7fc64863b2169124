"""A Ray cluster gives the same index as this process alone, and goes on where it was stopped."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fakes import KeywordEncoder

from indexes.chroma import PassageIndex
from indexes.corpus import Corpus
from indexes.errors import StoreError
from indexes.ingest import add_files
from indexes.paths import DataPaths
from indexes.precision import Precision
from indexes.ray_engine import RayEngine

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local cluster of two workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        folders = os.pathsep.join(str(folder) for folder in Path(__file__).parents[1:3])  # where workers find the fakes
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=100_000_000,
            runtime_env={"env_vars": {"PYTHONPATH": folders}},
        )
        yield
        ray.shutdown()


def load(precision: Precision, fingerprint: str = "fake-1") -> KeywordEncoder:
    return KeywordEncoder(fingerprint=fingerprint)


def test_a_cluster_gives_the_same_index_and_embeds_nothing_twice(
    cluster: None, paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    file = tmp_path / "facts.jsonl"
    words = np.random.default_rng(0).integers(0, 999, (300, 9))
    file.write_text("".join(f'{{"id": "{n}", "text": "{row}"}}\n' for n, row in enumerate(words.tolist())))
    engine = RayEngine(load=load, n_workers=2)
    progress = list(add_files(paths, "cluster", [file], encoder, embed=engine))
    list(add_files(paths, "alone", [file], KeywordEncoder()))
    assert progress[-1].done == progress[-1].total == 300
    assert encoder.n_encoded_passages == 0
    ids = Corpus.open(paths, "alone").passage_ids_by_length()
    ours, theirs = (PassageIndex.open(paths, name, encoder) for name in ("cluster", "alone"))
    assert np.array_equal(ours.vectors(ids), theirs.vectors(ids))
    found, expected = (index.search(str(words[7].tolist()), 5) for index in (ours, theirs))
    assert found[0] == expected[0]
    assert [c.score for c in found] == [c.score for c in expected]
    with file.open("a") as opened:
        opened.write('{"id": "more", "text": "one more"}\n')
    totals = [event.total for event in add_files(paths, "cluster", [file], encoder, embed=engine)]
    assert totals[-1] == 1


def test_a_worker_with_another_encoder_is_refused(
    cluster: None, paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    """Its vectors would be written among the others, and nobody would notice."""
    (tmp_path / "cats.txt").write_text("Cats purr.")
    engine = RayEngine(load=partial(load, fingerprint="other"), n_workers=1)
    with pytest.raises(StoreError, match=r"same command\s+goes on"):
        list(add_files(paths, "pets", [tmp_path / "cats.txt"], encoder, embed=engine))
    list(add_files(paths, "pets", [], encoder))
    assert PassageIndex.open(paths, "pets", encoder).n_passages == 1
