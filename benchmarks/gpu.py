"""How many passages a second a GPU embeds in bf16, at the batch that its memory takes, and how many end to end.

    make bench TABLE=gpu        BENCH_DATA is the folder of data sets, BENCH_SET the one to use (obliqa)

Skipped without a GPU that torch can use.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.indexing import ours
from benchmarks.machine import provenance
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.encoders.torch import SentenceTransformerEncoder
from indexes.paths import DataPaths


def main() -> None:
    """Prints the table."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("Skipped: torch finds no GPU here.")
    folder = Path(os.environ.get("BENCH_DATA", "../shared/data")) / os.environ.get("BENCH_SET", "obliqa")
    if not folder.is_dir():
        sys.exit(f"Skipped: there is no data set in {folder}. Set BENCH_DATA to a folder that has it.")
    encoder = load_encoder(DEFAULT_ENCODER, DataPaths(Path(os.environ.get("DATA_DIR", "data"))), "bf16")
    assert isinstance(encoder, SentenceTransformerEncoder)
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    encoder.encode_passages(texts[: encoder.batch_size])  # finds the batch and compiles what it needs
    started = time.perf_counter()
    encoder.encode_passages(texts)
    encoding = time.perf_counter() - started
    with TemporaryDirectory() as temporary:
        started = time.perf_counter()
        n_passages = ours(folder / "corpus.jsonl.gz", DataPaths(Path(temporary)), encoder).n_passages
        indexing = time.perf_counter() - started
    table = Table(
        torch.cuda.get_device_name(), "batch", "encoding, texts/s", "indexing, passages/s", title=provenance()
    )
    cells = (f"{encoder.batch_size:,}", f"{len(texts) / encoding:,.0f}", f"{n_passages / indexing:,.0f}")
    table.add_row(f"{encoder.name}, bf16", *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
