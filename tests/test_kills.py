"""What is killed, or meets a full disk, goes on to the end that it would have had: nothing lost or doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs SIGKILL and tmpfs")]

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("n", "parts"), [(12, ("add",)), (10, ("run", "disk"))], ids=["adding", "each stage"])
def test_it_ends_as_if_nothing_had_happened(n: int, parts: tuple[str, ...]) -> None:
    """`make bench TABLE=kills` does more of each, and of the page, its jobs and the embedded LLM."""
    if "disk" in parts and os.geteuid():
        parts = tuple(part for part in parts if part != "disk")  # only root can mount a small one
    command = [sys.executable, "-m", "benchmarks.kills", str(n), *parts]
    # A test's own folder has too long a name for the socket by which processes are begun.
    with tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")) as place:
        environment = os.environ | {"TMPDIR": place}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["part"] for each in told] == list(parts)
    assert all(each["equal"] and each["n"] > n / 2 for each in told)
