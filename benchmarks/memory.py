"""What indexing takes of memory and time as the corpus grows, with an encoder that costs next to nothing.

    make bench TABLE=memory        BENCH_SIZES=10000,100000 passages; 1000000 takes hours on two cores
    BENCH_ENCODER=all-MiniLM-L6-v2 takes a real encoder in place of the cheap one

Each size is a fresh process in a fresh data folder; "beyond the start" is its largest resident memory less what it had
when the encoder was loaded.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Encoder, Vectors

WORDS = [f"word{number}" for number in range(5000)]
N_WORDS = 60


class SpaceTokenizer:
    """Every word is a token."""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Character span of each word."""
        spans, place = [], 0
        for word in text.split(" "):
            spans.append((place, place + len(word)))
            place += len(word) + 1
        return spans


class CheapEncoder:
    """An `Encoder` whose vectors are drawn by a seed from the text, around one of a thousand topics."""

    name, fingerprint, dimension, max_tokens = "cheap", "cheap-1", 384, 256

    def __init__(self) -> None:
        self.tokenizer = SpaceTokenizer()
        self._topics = np.random.default_rng(0).normal(size=(1000, self.dimension)).astype(np.float32)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (B, D)."""
        seeds = [hash(text) % 2**32 for text in texts]
        noise = np.random.default_rng(seeds).normal(size=(len(texts), self.dimension)).astype(np.float32)
        vectors = self._topics[[seed % 1000 for seed in seeds]] + noise
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (N, D)."""
        return self.encode_queries(texts)


def main() -> None:
    """Prints the table, or measures one size for it."""
    if len(sys.argv) == 2:
        print(json.dumps(measure(int(sys.argv[1]))))
        return
    sizes = [int(size) for size in os.environ.get("BENCH_SIZES", "10000,100000").split(",")]
    columns = ("passages", "peak MiB beyond the start", "reading, cpu ms each", "indexing, cpu ms each", "wall ms each")
    table = Table(*columns, "× first", title=provenance())
    first = 0.0
    for size in sizes:
        command = [sys.executable, "-m", "benchmarks.memory", str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        found = json.loads(done.stdout.splitlines()[-1])
        first = first or found["index_cpu_ms"]
        print(found, file=sys.stderr, flush=True)
        cells = [f"{found[key]:.2f}" for key in ("read_cpu_ms", "index_cpu_ms", "index_wall_ms")]
        table.add_row(f"{size:,}", f"{found['peak_mib']:.0f}", *cells, f"{found['index_cpu_ms'] / first:.2f}")
    Console(width=120).print(table)


def measure(size: int) -> dict[str, float]:
    """Milliseconds a passage and MiB of one size."""
    with TemporaryDirectory() as temporary:
        paths = DataPaths(Path(temporary) / "data")
        name = os.environ.get("BENCH_ENCODER", "")
        encoder: Encoder = load_encoder(name, paths) if name else CheapEncoder()
        encoder.encode_passages(["a first text"])
        file = Path(temporary) / "corpus.jsonl"
        write_corpus(file, size)
        start = peak_mib()
        marks = [(time.perf_counter(), time.process_time())]
        for event in add_files(paths, "bench", [file], encoder):
            if event.stage == "embedding" and len(marks) == 1:
                marks.append((time.perf_counter(), time.process_time()))
        marks.append((time.perf_counter(), time.process_time()))
        assert PassageIndex.open(paths, "bench", encoder).n_passages == size
        return {
            "passages": size,
            "peak_mib": peak_mib() - start,
            "read_cpu_ms": (marks[1][1] - marks[0][1]) / size * 1e3,
            "index_cpu_ms": (marks[2][1] - marks[1][1]) / size * 1e3,
            "index_wall_ms": (marks[2][0] - marks[1][0]) / size * 1e3,
        }


def write_corpus(file: Path, size: int) -> None:
    rng = np.random.default_rng(1)
    with file.open("w", encoding="utf-8") as opened:
        for number in range(size):
            words = [WORDS[place] for place in rng.integers(0, len(WORDS), N_WORDS)]
            opened.write(json.dumps({"id": f"d{number}", "text": " ".join(words)}) + "\n")


def peak_mib() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024 * 1024)


if __name__ == "__main__":
    main()
