"""What adding an unchanged folder or file again costs: `make bench TABLE=again`, python -m benchmarks.again [PATH].

By default this project's own sources are added, by the real encoder, which was converted before. Both adds run in one
process, one after the other, and then as two commands, each with the start of its process; their share is what counts,
the times are of this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from indexes.corpus import Corpus
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

_ROOT = Path(__file__).resolve().parent.parent


def main(path: Path) -> None:
    """Prints passages, and for both ways the seconds of the first add and of the second, and their share."""
    with tempfile.TemporaryDirectory() as place:
        paths = DataPaths(Path(place))
        encoder = load_encoder(DEFAULT_ENCODER, paths)
        in_process = _twice(lambda: list(add_files(paths, "process", [path], encoder)))
        as_command = _twice(lambda: _add(path, place))
        n_passages = Corpus.open(paths, "command").info().n_passages
        print(json.dumps({"passages": n_passages, "in one process": in_process, "as a command": as_command}))


def _add(path: Path, data_dir: str) -> None:
    command = [sys.executable, "-m", "indexes", "add", "command", str(path.resolve()), "--data-dir", data_dir]
    subprocess.run(command, check=True, capture_output=True, cwd=_ROOT)  # noqa: S603


def _twice(add: Callable[[], object]) -> dict[str, float]:
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        add()
        seconds.append(time.monotonic() - began)
    return {
        "first_s": round(seconds[0], 3),
        "again_s": round(seconds[1], 3),
        "share": round(seconds[1] / seconds[0], 4),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "indexes")
