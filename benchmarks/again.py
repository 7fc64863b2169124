"""What adding an unchanged folder again costs: `make bench TABLE=again`.

The folder is this project's own sources, the encoder the real one. Both adds run in one process, one after the other;
their share is what counts, the times are of this machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from indexes.encoder_files import DEFAULT_ENCODER
from indexes.encoders import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

_ROOT = Path(__file__).resolve().parent.parent


def main(folder: Path) -> None:
    """Prints passages, seconds and embedded passages of the first add and of the second, and the share."""
    with tempfile.TemporaryDirectory() as place:
        paths = DataPaths(Path(place))
        encoder = load_encoder(DEFAULT_ENCODER, paths, "fp32")
        rows = []
        for _ in range(2):
            began = time.monotonic()
            events = list(add_files(paths, "sources", [folder], encoder))
            n_embedded = max((event.total for event in events if event.stage == "embedding"), default=0)
            rows.append({"seconds": round(time.monotonic() - began, 3), "embedded": n_embedded})
        share = rows[1]["seconds"] / rows[0]["seconds"]
        print(json.dumps({"first": rows[0], "again": rows[1], "share": round(share, 4)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else _ROOT / "indexes")
