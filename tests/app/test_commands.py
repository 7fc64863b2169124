"""A run's settings, written by the page or noted by the run, are read back by the command as the same settings."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import typer
from finished_runs import write

from app.jobs.jobs import arguments_of
from app.jobs.launching import command_needed
from distill.__main__ import app
from distill.llm.connection import LLMConfig
from distill.run_config import WITHOUT_LLM, RunConfig, read_settings, settings_text
from distill.run_folder import SETTINGS

PLAIN = RunConfig(name="new", corpus="--help", base="keywords", n_written=50, teacher="wise")
OTHER = RunConfig(
    name="-n",
    corpus="field notes",
    base="keywords",
    questions="/q.jsonl",
    styles=("claim", "question"),
    limit=7,
    n_candidates=6,
    teacher=WITHOUT_LLM,
    control=False,
    train="query",
    seed=5,
)


def read_by_command(arguments: tuple[str, ...]) -> tuple[Path, RunConfig]:
    """The data folder and the settings that `distill run` takes from `arguments`."""
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    read = run.make_context("run", [*arguments]).params
    assert not read["corpus"] and read["name"] is None, "all is in the file"
    return read["data_dir"], read_settings(read["config"], {})[0]


@pytest.mark.parametrize("config", [PLAIN, OTHER], ids=["plain", "other"])
def test_a_command_begins_and_goes_on_with_every_setting(config: RunConfig, tmp_path: Path) -> None:
    begun_here, begun_elsewhere = tmp_path / "a folder", tmp_path / "-elsewhere"
    begun_here.mkdir()
    (begun_here / SETTINGS).write_text(settings_text(config), encoding="utf-8")
    write(begun_elsewhere / "config.json", asdict(config) | {"content": "c", "fingerprint": "f"})
    for folder in (begun_here, begun_elsewhere):
        assert read_by_command(arguments_of(folder, tmp_path)) == (tmp_path, config)


def test_a_run_that_the_page_began_goes_on_with_what_the_page_was_told(tmp_path: Path) -> None:
    """What the run notes beside it names the LLM, which the page's settings leave to the environment."""
    (tmp_path / SETTINGS).write_text(settings_text(replace(PLAIN, teacher="")), encoding="utf-8")
    before = arguments_of(tmp_path, tmp_path)
    write(tmp_path / "config.json", asdict(PLAIN))
    assert arguments_of(tmp_path, tmp_path) == before


@pytest.mark.parametrize(
    ("teacher", "setting", "said"),
    [
        ("gpt-x", "LLM_MODEL=gpt-x", "command, with OPENAI_BASE_URL and OPENAI_API_KEY set as then:"),
        (
            "http://host:1/v1",
            "OPENAI_BASE_URL=http://host:1/v1 LLM_MODEL=",
            "command, with OPENAI_API_KEY set as then:",
        ),
        ("the endpoint's default model", "OPENAI_BASE_URL= LLM_MODEL=", "command, with OPENAI_API_KEY set as then:"),
        ("qwen-1.5b", "OPENAI_BASE_URL= OPENAI_API_KEY= LOCAL_LLM=qwen-1.5b", "only by this command:"),
        ("/my models/a.gguf", "OPENAI_BASE_URL= OPENAI_API_KEY= LOCAL_LLM='/my models/a.gguf'", "by this command:"),
    ],
)
def test_a_run_of_another_teacher_comes_with_the_command_that_goes_on_with_it(
    teacher: str, setting: str, said: str, tmp_path: Path
) -> None:
    """A command with another teacher would be refused: a run goes on only with the settings it was begun with."""
    config = replace(OTHER, teacher=teacher)
    folder = tmp_path / "a run"
    write(folder / "config.json", asdict(config))
    error = command_needed(config, folder, tmp_path, "wise")
    assert f"'{config.name}' was begun with the teacher '{teacher}', and this page's LLM is 'wise'" in error.sentence
    assert error.sentence.endswith(said)
    known, _, typed = error.command.partition(" python -m distill run ")
    assert known == setting
    environment = dict(pair.split("=", 1) for pair in shlex.split(known))
    begun_with = LLMConfig(
        base_url=environment.get("OPENAI_BASE_URL", "http://elsewhere/v1") or None,
        api_key=environment.get("OPENAI_API_KEY", "a key") or None,
        model=environment.get("LLM_MODEL") or None,
        local_llm=environment.get("LOCAL_LLM", "another"),
    )
    assert begun_with.name == teacher
    assert read_by_command(tuple(shlex.split(typed))) == (tmp_path, config)
