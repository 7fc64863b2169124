"""What long files and many files cost to read: memory has to stay, time has to grow with the bytes and no faster.

    make bench TABLE=long_files       BENCH_BYTES="200e6 2e9" are the sizes, BENCH_FILES=50000 the number of tiny files

The files are made in the temporary folder and deleted; each is read by a process of its own, without an encoder.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from indexes.files import open_sources
from indexes.readers.process import read_documents

_LINE = "Cats purr at twenty-five hertz, wenn sie größer sind. " * 4


def main() -> None:
    """Prints a line for each file, or measures the one that it is given."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]))))
        return
    sizes = [int(float(size)) for size in os.environ.get("BENCH_BYTES", "20e6 200e6 2e9").split()]
    table = Table("file", "bytes", "documents", "seconds", "MB/s", "peak memory, MiB", title=provenance())
    with tempfile.TemporaryDirectory() as folder:
        for suffix, line in ((".txt", f"{_LINE}\n"), (".jsonl", json.dumps({"text": _LINE * 8}) + "\n")):
            for size in sizes:
                file = Path(folder, f"long{suffix}")
                write_lines(file, line, size)
                table.add_row(file.name, *_row(file, size))
                file.unlink()
        n_files = int(os.environ.get("BENCH_FILES", "50000"))
        tiny = Path(folder, "tiny")
        for number in range(n_files):
            file = tiny / f"{number // 1000:03}" / f"{number:05}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{number} {_LINE}")
        table.add_row(f"{n_files} files", *_row(tiny, n_files * len(_LINE)))
    Console(width=120).print(table)


def write_lines(file: Path, line: str, size: int) -> None:
    block = (line * (2**20 // len(line))).encode()
    with file.open("wb") as opened:
        for _ in range(size // len(block)):
            opened.write(block)


def _row(file: Path, size: int) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.long_files", str(file)]
    measured = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # noqa: S603
    seconds, memory = measured["seconds"], measured["peak_mib"]
    return [f"{size:,}", f"{measured['documents']:,}", f"{seconds:.1f}", f"{size / 1e6 / seconds:.0f}", f"{memory:.0f}"]


def measure(path: Path) -> dict[str, float]:
    """Documents, seconds and the process's peak memory of reading a file or a folder."""
    started, n_documents = time.perf_counter(), 0
    with open_sources([path]) as files:
        for file in files:
            with file.on_disk() as on_disk:
                n_documents += sum(1 for _ in read_documents(on_disk, file.source))
    seconds = time.perf_counter() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"documents": n_documents, "seconds": seconds, "peak_mib": peak_mib}


if __name__ == "__main__":
    main()
