"""A Ray cluster gives the same index as this process alone, and goes on where it was stopped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fakes import KeywordEncoder, load_keywords
from tiny_encoders import WORDS, tiny_transformer

from indexes.corpus import Corpus
from indexes.doctor import examine
from indexes.encoders.loading import load_encoder
from indexes.errors import StoreError
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.ray_engine import RayEngine
from indexes.types import Encoder, Vectors

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")


PAIRS = list(combinations(WORDS, 2))
FOLDERS = os.pathsep.join(str(folder) for folder in Path(__file__).parents[1:3])  # where workers find the fakes
KILLED = """
import os, signal, sys
from pathlib import Path
import ray
from fakes import KeywordEncoder, load_keywords
from indexes.ingest import add_files
from indexes.paths import DataPaths
from indexes.ray_engine import RayEngine
ray.init(log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}})
engine = RayEngine(load=load_keywords, n_workers=1)
for event in add_files(DataPaths(Path(sys.argv[1])), "cluster", [Path(sys.argv[2])], KeywordEncoder(), embed=engine):
    if event.stage == "embedding" and event.done:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a local cluster of two workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=100_000_000,
            runtime_env={"env_vars": {"PYTHONPATH": FOLDERS}},
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def write_facts(file: Path, n_records: int) -> Path:
    words = np.random.default_rng(0).integers(0, 999, (n_records, 9))
    file.write_text("".join(f'{{"id": "{n}", "text": "{row}"}}\n' for n, row in enumerate(words.tolist())))
    return file


def driver(cluster: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Another program that uses the cluster."""
    environment = os.environ | {"RAY_ADDRESS": cluster, "PYTHONPATH": FOLDERS, "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def vectors_of(paths: DataPaths, corpus: str, encoder: Encoder) -> Vectors:
    ids = Corpus.open(paths, corpus).passage_ids_by_length()
    return PassageIndex.open(paths, corpus, encoder).vectors(ids)


def test_a_cluster_gives_the_same_index_and_embeds_nothing_twice(
    cluster: str, paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    file = write_facts(tmp_path / "facts.jsonl", 300)
    engine = RayEngine(load=load_keywords, n_workers=2)
    progress = list(add_files(paths, "cluster", [file], encoder, embed=engine))
    list(add_files(paths, "alone", [file], KeywordEncoder()))
    assert progress[-1].done == progress[-1].total == 300
    assert encoder.n_encoded_passages == 0
    assert np.array_equal(vectors_of(paths, "cluster", encoder), vectors_of(paths, "alone", encoder))
    question = file.read_text().splitlines()[7]
    found, expected = (PassageIndex.open(paths, name, encoder).search(question, 5) for name in ("cluster", "alone"))
    assert found[0] == expected[0]
    assert [c.score for c in found] == [c.score for c in expected]
    with file.open("a") as opened:
        opened.write('{"id": "more", "text": "one more"}\n')
    totals = [event.total for event in add_files(paths, "cluster", [file], encoder, embed=engine)]
    assert totals[-1] == 1


def test_an_add_that_was_killed_half_way_goes_on_and_gives_the_same_index(
    cluster: str, paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    file = write_facts(tmp_path / "facts.jsonl", 600)
    killed = driver(cluster, "-c", KILLED, str(paths.root), str(file))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    engine = RayEngine(load=load_keywords, n_workers=2)
    *_, last = add_files(paths, "cluster", [file], encoder, embed=engine)
    assert 0 < last.total < 600
    assert last.done == last.total
    list(add_files(paths, "alone", [file], KeywordEncoder()))
    assert np.array_equal(vectors_of(paths, "cluster", encoder), vectors_of(paths, "alone", encoder))
    assert examine(paths, "cluster") == []


def test_the_command_embeds_on_the_cluster_that_is_named(cluster: str, paths: DataPaths, tmp_path: Path) -> None:
    tiny_transformer(tmp_path).save_pretrained(str(paths.encoder("tiny")), create_model_card=False)
    tiny = load_encoder("tiny", paths, "fp32")
    file = tmp_path / "words.jsonl"
    file.write_text("".join(f'{{"id": "{n}", "text": "{one} and {two}"}}\n' for n, (one, two) in enumerate(PAIRS)))
    command = ["-m", "indexes", "add", "words", str(file), "--encoder", "tiny", "--data-dir", str(paths.root)]
    done = driver(cluster, *command, "--precision", "fp32", "--engine", "ray", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert f"{len(PAIRS)} of {len(PAIRS)}" in done.stderr
    list(add_files(paths, "alone", [file], tiny))
    assert vectors_of(paths, "words", tiny) == pytest.approx(vectors_of(paths, "alone", tiny), abs=1e-6)


def test_a_worker_with_another_encoder_is_refused(
    cluster: str, paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path
) -> None:
    """Its vectors would be written among the others, and nobody would notice."""
    (tmp_path / "cats.txt").write_text("Cats purr.")
    engine = RayEngine(load=partial(load_keywords, fingerprint="other"), n_workers=1)
    with pytest.raises(StoreError, match=r"same command\s+goes on"):
        list(add_files(paths, "pets", [tmp_path / "cats.txt"], encoder, embed=engine))
    list(add_files(paths, "pets", [], encoder))
    assert PassageIndex.open(paths, "pets", encoder).n_passages == 1
