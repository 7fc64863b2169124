"""How fast files become searchable, against what one would write instead: LangChain's Chroma and HuggingFace classes.

    make bench TABLE=indexing        BENCH_DATA is the folder of data sets, BENCH_SET the one to use (obliqa)
    BENCH_PASSAGES=1500              how many passages each way indexes (0: all of them, and the quality is judged too)

Every way reads the same file of one passage a line, and is timed until the first question is answered, without loading
its encoder. The ways take turns, `BENCH_ROUNDS` times, so that whatever else the machine does meets them all; "wall" is
the median of a way's rounds, "cpu" what the processor worked for it, which other programs change less. The anchor needs
langchain-chroma and langchain-huggingface, which the project itself does not: pip install --no-deps both.
"""

from __future__ import annotations

import gzip
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from indexes.corpus import Corpus
from indexes.encoders.finding import DEFAULT_ENCODER, find_encoder
from indexes.encoders.loading import load_encoder, load_trainable
from indexes.evaluation import judge
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.queries import read_queries
from indexes.types import Encoder, Passage, Vectors

QUESTION = "Which records must be kept, and for how long?"
ANCHOR = "LangChain"
N_COMPARED = 1000  # passages whose vectors are compared with those of torch
Times = dict[str, list[tuple[float, float]]]


def main() -> None:
    """Prints the table."""
    name = os.environ.get("BENCH_SET", "obliqa")
    folder = Path(os.environ.get("BENCH_DATA", "../shared/data")) / name
    if not folder.is_dir():
        sys.exit(f"Skipped: there is no data set in {folder}. Set BENCH_DATA to a folder that has it.")
    n_passages = int(os.environ.get("BENCH_PASSAGES", "1500"))
    paths = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    encoders = {precision: load_encoder(DEFAULT_ENCODER, paths, precision) for precision in ("fp32", "int8")}  # type: ignore[arg-type]
    with TemporaryDirectory() as temporary:
        file = Path(temporary) / "passages.jsonl"
        n_passages = write_sample(folder / "corpus.jsonl.gz", file, n_passages)
        times, indexes, folders = measure(Path(temporary), file, encoders, str(find_encoder(DEFAULT_ENCODER, paths)))
        print_table(name, times, n_passages, encoders)
        exact, quick = (stored_vectors(folders[each], indexes[each]) for each in ("fp32", "int8"))
        original = load_trainable(DEFAULT_ENCODER, paths)
        print_vectors(folders["fp32"], original, exact, quick)
        if not int(os.environ.get("BENCH_PASSAGES", "1500")):
            judge_quality(folder, indexes)


def write_sample(corpus: Path, file: Path, n_passages: int) -> int:
    """How many passages were written to `file`: `n_passages` drawn from `corpus`, or all of them at 0."""
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    chosen = [rows[place] for place in (order[:n_passages] if n_passages else range(len(rows)))]
    file.write_text("".join(json.dumps(row) + "\n" for row in chosen), encoding="utf-8")
    return len(chosen)


def measure(
    folder: Path, file: Path, encoders: dict[str, Encoder], model: str
) -> tuple[Times, dict[str, PassageIndex], dict[str, DataPaths]]:
    """Seconds (wall, cpu) of each way and round, and our last indexes by precision with their data folders."""
    times: Times = {}
    indexes: dict[str, PassageIndex] = {}
    folders: dict[str, DataPaths] = {}
    anchor = anchor_way(model)
    for number in range(int(os.environ.get("BENCH_ROUNDS", "3"))):
        if anchor:
            with timed(times, ANCHOR):
                anchor(file, folder / f"anchor-{number}")
        for precision, encoder in encoders.items():
            folders[precision] = DataPaths(folder / f"{precision}-{number}")
            with timed(times, precision):
                indexes[precision] = ours(file, folders[precision], encoder)
    return times, indexes, folders


@contextmanager
def timed(times: Times, way: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    times.setdefault(way, []).append((time.perf_counter() - wall, time.process_time() - cpu))
    print(f"{way}: {times[way][-1][0]:.1f} s, cpu {times[way][-1][1]:.1f} s", file=sys.stderr, flush=True)


def ours(file: Path, paths: DataPaths, encoder: Encoder) -> PassageIndex:
    """The index of `file`, after its first answer."""
    for _ in add_files(paths, "bench", [file], encoder):
        pass
    index = PassageIndex.open(paths, "bench", encoder)
    assert index.search(QUESTION, 10)
    return index


def anchor_way(model: str) -> Callable[[Path, Path], None] | None:
    """What indexes a file by LangChain's own classes, or None if they are not installed."""
    try:
        from langchain_chroma import Chroma
        from langchain_core.documents import Document
        from langchain_huggingface import HuggingFaceEmbeddings
    except ImportError as error:
        print(f"No anchor: {error}. pip install --no-deps langchain-chroma langchain-huggingface", file=sys.stderr)
        return None
    embeddings = HuggingFaceEmbeddings(model_name=model, encode_kwargs={"normalize_embeddings": True})

    def index(file: Path, folder: Path) -> None:
        with file.open(encoding="utf-8") as lines:
            rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        documents = [Document(page_content=row["text"], metadata={"id": row["id"]}) for row in rows]
        store: Any = None
        for first in range(0, len(documents), 5000):  # Chroma bounds a request, and from_documents makes one
            some = documents[first : first + 5000]
            if store is None:
                store = Chroma.from_documents(some, embeddings, persist_directory=str(folder))
            else:
                store.add_documents(some)
        assert store.similarity_search(QUESTION, k=10)

    return index


def print_table(name: str, times: Times, n_passages: int, encoders: dict[str, Encoder]) -> None:
    table = Table("way", "passages/s", "× anchor", "passages per cpu second", "× anchor", title=provenance())
    median = {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in times.items()}
    for way, (wall, cpu) in median.items():
        anchor = median.get(ANCHOR, [float("nan")] * 2)
        cells = (n_passages / wall, anchor[0] / wall, n_passages / cpu, anchor[1] / cpu)
        table.add_row(way, f"{cells[0]:.0f}", f"{cells[1]:.2f}", f"{cells[2]:.0f}", f"{cells[3]:.2f}")
    console = Console(width=120)
    console.print(table)
    console.print(f"{name}, {n_passages} passages, encoder {encoders['fp32'].name}", highlight=False)


def some_passages(paths: DataPaths) -> list[Passage]:
    return list(islice(Corpus.open(paths, "bench").passages(), N_COMPARED))


def stored_vectors(paths: DataPaths, index: PassageIndex) -> Vectors:
    return index.vectors([passage.id for passage in some_passages(paths)])


def print_vectors(paths: DataPaths, original: Encoder, exact: Vectors, quick: Vectors) -> None:
    """How far the stored vectors are from those that torch gives."""
    texts = [passage.full_text for passage in some_passages(paths)]
    expected = original.encode_passages(texts)
    cosines = (expected * quick).sum(axis=1)
    print(f"fp32 against torch: largest difference {np.abs(expected - exact).max():.1e} over {len(texts)} passages")
    print(f"int8 against torch: cosine {cosines.mean():.4f} in the mean, {cosines.min():.4f} at least")


def judge_quality(folder: Path, indexes: dict[str, PassageIndex]) -> None:
    """Prints what a precision costs on the data set's dev questions."""
    queries = read_queries(folder / "questions.jsonl.gz", "dev")
    judgement = judge(queries, indexes)
    for precision, values in judgement.metrics.items():
        print(f"{precision}: nDCG@10 {values['ndcg@10']:.4f}, hit rate@10 {values['hit_rate@10']:.4f}")
    print(*judgement.comparisons, sep="\n")


if __name__ == "__main__":
    main()
