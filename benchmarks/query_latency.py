"""How long a question takes in the process: encode, search, and what of it is ours rather than Chroma's.

    make bench TABLE=query_latency        on a corpus of DATA_DIR (BENCH_CORPUS, obliqa) that is indexed already
    BENCH_DATA, BENCH_SET                 where its questions are

"ours" and "raw" take turns on the same vectors in the same collection; "raw" asks Chroma for the same columns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from indexes.chroma import open_collection
from indexes.corpus import Corpus
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.passage_index import PassageIndex, find_index
from indexes.paths import DataPaths
from indexes.queries import read_queries

K = 10


def main() -> None:
    """Prints the table."""
    name = os.environ.get("BENCH_CORPUS", "obliqa")
    folder = Path(os.environ.get("BENCH_DATA", "../shared/data")) / os.environ.get("BENCH_SET", "obliqa")
    paths = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    if not folder.is_dir() or not paths.corpus(name).is_dir():
        sys.exit(f"Skipped: this needs questions in {folder} and an indexed corpus '{name}' in {paths.root}.")
    questions = [query.text for query in read_queries(folder / "questions.jsonl.gz", "dev")][:500]
    encoder = load_encoder(DEFAULT_ENCODER, paths)
    index = PassageIndex.open(paths, name, encoder)
    info = find_index(Corpus.open(paths, name), encoder)
    assert info is not None
    collection = open_collection(paths, Corpus.open(paths, name), info.fingerprint)
    include: Any = ["distances"]

    def whole(question: str) -> None:
        index.search(question, K)

    def reopened(question: str) -> None:
        PassageIndex.open(paths, name, encoder).search(question, K)

    def ours(question: str) -> None:
        index.search_vectors(vectors[question], K)

    def raw(question: str) -> None:
        collection.query(query_embeddings=vectors[question], n_results=K, include=include)

    vectors = {question: encoder.encode_queries([question]) for question in questions}
    ways: dict[str, Callable[[str], None]] = {
        "encode + search": whole,
        "open + encode + search": reopened,
        "search, ours": ours,
        "search, raw Chroma": raw,
    }
    print_table(f"{index.n_passages} passages, {info.fingerprint}, k = {K}", measure(ways, questions))
    for command in ("import indexes", "from indexes.__main__ import app; app(['list'], standalone_mode=False)"):
        print_start(command, paths)


def measure(ways: dict[str, Callable[[str], None]], questions: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds (wall, cpu) of each way and question; the ways take turns."""
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for question in questions:
        for way, ask in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            ask(question)
            times[way].append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
    return times


def print_table(caption: str, times: dict[str, list[tuple[float, float]]]) -> None:
    table = Table("", "median ms", "p95 ms", "median cpu ms", "× raw (cpu)", title=provenance(), caption=caption)
    raw = statistics.median(cpu for _, cpu in times["search, raw Chroma"])
    for way, rows in times.items():
        walls, cpus = zip(*rows, strict=True)
        middle = statistics.median(cpus)
        p95 = statistics.quantiles(walls, n=20)[-1]
        table.add_row(way, f"{statistics.median(walls):.1f}", f"{p95:.1f}", f"{middle:.1f}", f"{middle / raw:.2f}")
    Console(width=120).print(table)


def print_start(command: str, paths: DataPaths) -> None:
    """Prints how long a fresh interpreter takes for `command`, and whether it loaded torch."""
    program = f"import sys\n{command}\nprint('torch' in sys.modules, file=sys.stderr)"
    environment = os.environ | {"DATA_DIR": str(paths.root)}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)  # noqa: S603
    took = time.perf_counter() - started
    print(f"{command.split(';')[-1].strip()}: {took:.2f} s, torch loaded: {done.stderr.strip()[-5:]}")


if __name__ == "__main__":
    main()
