"""Options of `distill run` that would do nothing together are refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill.__main__ import app


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--teacher", "wise"], "--teacher takes 'none'"),
        (["--teacher", "none", "--rankings", "orders.jsonl"], "exclude each other"),
        (["--teacher", "none", "--method", "direct"], "learns from orders alone"),
        (["--teacher", "none", "--method", "contrastive"], "learns from orders alone"),
        (["--ranker-loss", "ranknet"], "--ranker-loss is of --ranker-train full"),
        (["--write-questions", "3"], "either --questions FILE or --write-questions N"),
        (["--positives", "last"], "none, first"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: list[str], sentence: str, tmp_path: Path) -> None:
    command = ["run", "facts", "--name", "x", "--questions", "q.jsonl", "--data-dir", str(tmp_path / "data"), *options]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "300", "TERM": "dumb"})
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.replace("│", " ").split())
    assert not (tmp_path / "data").exists()
