"""An `add` may die at any moment: the next one completes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
N_KILLS = 12  # `python benchmarks/kills.py` does 50, on a larger corpus


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_whatever_moment_it_is_killed_at_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/kills.py", str(N_KILLS), "15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] == N_KILLS
    assert told["sound"]
