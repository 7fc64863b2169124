"""How many of the true ten nearest passages a search finds, by brute force on the same vectors.

python -m benchmarks.exactness [--passages 100000] [--data-dir DIR --corpus NAME]: random and clustered unit vectors of
384 dimensions, and the vectors of an indexed corpus, whose questions are the first words of its passages.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import provenance
from indexes.corpus import Corpus
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Tokenizer, Vectors

_DIMENSION = 384
_N_QUESTIONS = 200
_K = 10
_N_CLUSTERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found of the true `_K` nearest, as a share, and how long building and one search took."""

    found: float
    build_s: float
    median_ms: float


class Whole:
    """A tokenizer for which every text is one token: nothing is split."""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        return [(0, len(text))] if text else []


class TableEncoder:
    """An `Encoder` that has the vector of `passage N` in row N of a table."""

    name, max_tokens = "table", 256

    def __init__(self, table: Vectors) -> None:
        self._table = table
        self.fingerprint = f"table-{len(table)}"
        self.dimension = table.shape[1]
        self.tokenizer: Tokenizer = Whole()

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encode_passages(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._table[[int(text.split()[-1]) for text in texts]]


def unit(vectors: Vectors) -> Vectors:
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def draw(kind: str, n: int) -> tuple[Vectors, Vectors]:
    """Passages (n, D) and questions (200, D): of no structure, or around 1,000 centres."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((n + _N_QUESTIONS, _DIMENSION), dtype=np.float32)
    if kind == "clustered":
        centres = rng.standard_normal((_N_CLUSTERS, _DIMENSION), dtype=np.float32)
        noise = centres[rng.integers(0, _N_CLUSTERS, len(noise))] + 0.7 * noise
    vectors = unit(noise)
    return vectors[:n], vectors[n:]


def measure(index: PassageIndex, vectors: Vectors, questions: Vectors, build_s: float) -> Found:
    """What `index` finds; a passage that is as near as the tenth counts as one of the true ten."""
    shares, times = [], []
    for question in questions:
        started = time.perf_counter()
        hits = index.search_vectors(question[None], _K)[0]
        times.append((time.perf_counter() - started) * 1000)
        floor = np.partition(vectors @ question, -_K)[-_K]
        shares.append(sum(hit.score >= floor - 1e-5 for hit in hits) / _K)
    return Found(found=float(np.mean(shares)), build_s=build_s, median_ms=float(np.median(times)))


def made_up(kind: str, n: int) -> Found:
    """The figures of an index of drawn vectors, built as any other."""
    vectors, questions = draw(kind, n)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "passages.jsonl"
        file.write_text("".join(json.dumps({"id": str(i), "text": f"passage {i}"}) + "\n" for i in range(n)))
        paths, encoder = DataPaths(Path(folder) / "data"), TableEncoder(vectors)
        started = time.perf_counter()
        for _ in add_files(paths, "drawn", [file], encoder):
            pass
        took_s = time.perf_counter() - started
        return measure(PassageIndex.open(paths, "drawn", encoder), vectors, questions, took_s)


def real(paths: DataPaths, corpus: str) -> tuple[int, Found]:
    """The number of passages of an indexed corpus, and its figures; it was built before, so that is not timed."""
    encoder = load_encoder(DEFAULT_ENCODER, paths)
    passages = list(Corpus.open(paths, corpus).passages())
    index = PassageIndex.open(paths, corpus, encoder)
    vectors = index.vectors([passage.id for passage in passages])
    every = passages[:: max(1, len(passages) // _N_QUESTIONS)]
    questions = encoder.encode_queries([" ".join(passage.text.split()[:12]) for passage in every])
    return len(passages), measure(index, vectors, questions, float("nan"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--corpus", default="obliqa")
    parser.add_argument("--kinds", nargs="*", default=["clustered", "random"])
    arguments = parser.parse_args()
    rows = [(kind, arguments.passages, made_up(kind, arguments.passages)) for kind in arguments.kinds]
    if arguments.data_dir:
        n, found = real(DataPaths(arguments.data_dir), arguments.corpus)
        rows.append((arguments.corpus, n, found))
    print("| vectors | passages | of the true top 10 | files to searchable, s | search, median ms |")
    print("|---|---|---|---|---|")
    for name, n, found in rows:
        print(f"| {name} | {n:,} | {found.found:.2%} | {found.build_s:.0f} | {found.median_ms:.1f} |")
    print(provenance())


if __name__ == "__main__":
    main()
