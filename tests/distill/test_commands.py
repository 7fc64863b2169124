"""Settings of `distill run` that cannot go together are refused in a sentence before anything is read or asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distill.__main__ import app
from indexes.errors import InputError


def said_by(tmp_path: Path, *options: str) -> str:
    """The sentence that the command ends with, over a data folder that is not made for it."""
    command = ["run", "facts", "--name", "x", "--data-dir", str(tmp_path / "data"), *options]
    environment = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": "sk-secret", "LLM_MODEL": "wise"}
    done = CliRunner().invoke(app, command, env=environment)
    assert isinstance(done.exception, InputError), done.output
    assert not (tmp_path / "data").exists()
    assert "sk-secret" not in str(done.exception)
    return str(done.exception)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--teacher", "gpt-5"], "The teacher is to be 'gpt-5', and the LLM of the environment is 'wise'"),
        (["--teacher", "none", "--rankings", "orders.jsonl"], "exclude each other"),
        (["--recipe", "paper", "--train", "query"], "--recipe paper trains both sides; leave out --train query"),
        (["--recipe", "paper", "--teacher", "none"], "--recipe paper learns from orders alone"),
        (["--write-questions", "3"], "give either --questions FILE or --write-questions N"),
        (["--recipe", "papers"], "The command: recipe = 'papers' will not do: input should be 'auto' or 'paper'"),
        (["--train", "full"], "The command: train = 'full' will not do: input should be 'both' or 'query'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: list[str], sentence: str, tmp_path: Path) -> None:
    assert sentence in said_by(tmp_path, "--questions", "q.jsonl", *options)


def test_questions_come_from_somewhere(tmp_path: Path) -> None:
    assert "give either --questions FILE or --write-questions N" in said_by(tmp_path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"questions": "q.jsonl", "n_written": 3}, "give either --questions FILE or --write-questions N"),
        ({"questions": "q.jsonl", "rankings": "o.jsonl", "teacher": "none"}, "exclude each other"),
        ({"n_written": 3, "mode": "worst-of"}, "'worst-of' is no mode of the teacher. Use listwise"),
        ({"n_written": 3, "recipe": "paper", "train": "query"}, "--recipe paper trains both sides"),
        ({"n_written": 3, "method": "direct"}, "there is no setting 'method'"),
    ],
)
def test_settings_of_a_file_that_contradict_each_other_are_refused(
    settings: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    assert sentence in said_by(tmp_path, "--config", str(file))
