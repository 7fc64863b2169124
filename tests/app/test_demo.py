"""The demonstration corpus is read from the interpreter, by a child process, and is the same each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run_here

pytestmark = pytest.mark.slow

SECRET = "sk-of-this-machine"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    out = tmp_path_factory.mktemp("demo") / "docs.jsonl"
    environment = os.environ | {"A_SECRET": SECRET}
    done = subprocess.run(
        [sys.executable, "-m", "app.demo", str(out)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_it_is_large_enough_to_ask_and_small_enough_to_index(records: list[dict[str, str]]) -> None:
    assert 1500 < len(records) < 6000


def test_a_document_is_called_as_one_writes_it(records: list[dict[str, str]]) -> None:
    titles = {record["id"]: record["title"] for record in records}
    assert titles["json.dumps"].startswith("json.dumps(obj, *, skipkeys=False")
    assert {"str.split", "collections.deque", "asyncio.run", "os.path.join", "pathlib.Path.rglob"} <= set(titles)
    assert len(titles) == len(records)


def test_a_name_that_is_exported_twice_is_there_once(records: list[dict[str, str]]) -> None:
    ids = {record["id"] for record in records}
    assert "asyncio.runners.run" not in ids
    assert len({record["text"] for record in records}) == len(records)


def test_nothing_private_short_or_of_this_run_is_in_it(records: list[dict[str, str]]) -> None:
    for record in records:
        assert not any(part.startswith("_") for part in record["id"].split("."))
        assert len(record["text"]) >= 80
        assert " at 0x" not in record["title"] + record["text"]
        assert SECRET not in record["title"] + record["text"], "the environment leaks through a default value"


def test_it_is_the_same_each_time(records: list[dict[str, str]], tmp_path: Path) -> None:
    """Otherwise an interrupted first start would begin anew instead of going on."""
    out = tmp_path / "again.jsonl"
    subprocess.run([sys.executable, "-m", "app.demo", str(out)], cwd=ROOT, check=True)
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == records


def test_wrong_usage_is_told_apart() -> None:
    done = run_here("app.demo", environment=os.environ)
    assert done.returncode == 2
    assert "usage" in done.stderr
