"""The file that says where a run is, to whoever watches it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from distill.json_files import parsed
from distill.records import Spend
from distill.run import Event, ProgressFile
from indexes.errors import InputError


def read(file: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value


def test_a_watcher_sees_stage_count_spend_and_end(tmp_path: Path) -> None:
    file = tmp_path / "new" / "progress.json"  # whose folder the run makes once it knows that it can begin
    with ProgressFile(file, lambda: Spend(calls=7, cost_usd=0.5), every_s=0) as report:
        report(Event(stage="questions"))
        assert not file.parent.exists()
        file.parent.mkdir()
        report(Event(stage="questions", done=2, total=10))
        report(Event(stage="rankings", remark="It knows what it prefers."))
        now = read(file)
        assert now["stage"] == "rankings"
        assert now["stages"]["questions"]["ended"]
        assert (now["stages"]["questions"]["done"], now["stages"]["questions"]["total"]) == (2, 10)
        assert now["remarks"][0]["text"] == "It knows what it prefers."
        assert now["how"] == ""
    assert read(file)["how"] == "done"
    assert parsed(Spend, read(file)["spend"]) == Spend(calls=7, cost_usd=0.5)


@pytest.mark.parametrize(
    ("error", "how", "sentence"),
    [
        (InputError("Say it again."), "failed", "Say it again."),
        (KeyboardInterrupt(), "stopped", ""),
        (ValueError("sk-secret in a traceback"), "failed", "It ended by a defect of the program; the log shows where."),
    ],
)
def test_however_it_ends_the_file_says_so(tmp_path: Path, error: BaseException, how: str, sentence: str) -> None:
    file = tmp_path / "progress.json"
    with pytest.raises(type(error)), ProgressFile(file):
        raise error
    assert (read(file)["how"], read(file)["sentence"]) == (how, sentence)


def test_a_run_that_goes_on_keeps_what_it_had_done(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    with pytest.raises(KeyboardInterrupt), ProgressFile(file, lambda: Spend(calls=5)) as report:
        report(Event(stage="questions", done=1, total=1))
        raise KeyboardInterrupt
    with ProgressFile(file, lambda: Spend(calls=7)) as report:
        report(Event(stage="candidates"))
        assert read(file)["how"] == ""
    assert parsed(Spend, read(file)["spend"]) == Spend(calls=7)
    assert set(read(file)["stages"]) == {"questions", "candidates"}


def test_a_damaged_file_does_not_stop_a_run(tmp_path: Path) -> None:
    file = tmp_path / "progress.json"
    file.write_text("{", encoding="utf-8")
    with ProgressFile(file):
        pass
    assert read(file)["how"] == "done"
