"""What any taught retriever has to beat: the base encoder, BM25 and their fusion, on a data set's dev questions.

    make bench TABLE=baselines        BENCH_DATA is the folder of data sets, BENCH_SET the one to use (obliqa)

Builds the index under DATA_DIR if it is not there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.evaluation import judge
from indexes.ingest import add_files
from indexes.lexical import LexicalIndex
from indexes.mixes import DEFAULT_MIX
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.queries import read_queries
from indexes.retrievers import Retriever, Search


def main() -> None:
    """Prints the table."""
    name = os.environ.get("BENCH_SET", "obliqa")
    folder = Path(os.environ.get("BENCH_DATA", "../shared/data")) / name
    if not folder.is_dir():
        sys.exit(f"Skipped: there is no data set in {folder}. Set BENCH_DATA to a folder that has it.")
    paths = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    encoder = load_encoder(os.environ.get("ENCODER", DEFAULT_ENCODER), paths)
    started = time.perf_counter()
    *_, last = add_files(paths, name, [folder / "corpus.jsonl.gz"], encoder)
    index_s = time.perf_counter() - started
    index, lexical = PassageIndex.open(paths, name, encoder), LexicalIndex.open(paths, name)

    fused = Retriever(encoder=encoder.name, kind="fused", mix=DEFAULT_MIX)
    search = Search(fused, lambda: index, lambda: lexical)
    queries = read_queries(folder / "questions.jsonl.gz", "dev")
    judgement = judge(queries, {encoder.name: index, "lexical": lexical, fused.key: search})
    table = Table(f"{name}, {len(judgement.queries)} dev questions", *judgement.metrics, title=provenance())
    for metric in next(iter(judgement.metrics.values())):
        table.add_row(metric, *(f"{values[metric]:.3f}" for values in judgement.metrics.values()))
    console = Console()
    console.print(table)
    console.print(*judgement.comparisons, sep="\n", highlight=False)
    console.print(f"{index.n_passages} passages in the index; {last.total} embedded now, in {index_s:.0f} s")


if __name__ == "__main__":
    main()
