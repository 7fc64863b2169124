"""The line under every table: on what it was measured, and of which commit."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path


def provenance() -> str:
    """Date, commit, processor, cores and Python of this run."""
    return (
        f"{datetime.datetime.now(tz=datetime.UTC).date()} · commit {_commit()} · {_processor()}, "
        f"{os.cpu_count()} cores · Python {platform.python_version()}"
    )


def _commit() -> str:
    describe = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True, cwd=Path(__file__).parent)  # noqa: S603
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if names.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
