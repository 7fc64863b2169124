"""The format matrix: of each format a real file, and what came out of it. python -m benchmarks.formats"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.sample_files import write_samples
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.paths import DataPaths
from indexes.readers.process import read_documents
from indexes.splitting import PassageSettings, split_document
from indexes.types import Passage


def main() -> None:
    """Prints a line for each format."""
    tokenizer = load_encoder(DEFAULT_ENCODER, DataPaths(Path("data"))).tokenizer
    table = Table("file", "documents", "passages", "kind", "date", "title", "page", "span", "first words")
    with tempfile.TemporaryDirectory() as folder:
        for file in write_samples(Path(folder)):
            documents = list(read_documents(file, file.name))
            passages = [p for d in documents for p in split_document(d, tokenizer, PassageSettings())]
            table.add_row(file.name, str(len(documents)), str(len(passages)), *_shown(passages[0]))
    Console(width=160).print(table)


def _shown(passage: Passage) -> list[str]:
    words = " ".join(passage.text.split())
    span = f"{passage.start}–{passage.end}"
    return [passage.kind, passage.date, passage.title, str(passage.page or ""), span, words[:60]]


if __name__ == "__main__":
    main()
