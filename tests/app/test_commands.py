"""A run's settings, written by the page or noted by the run, are read back by the command as the same settings."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import typer
from finished_runs import write

from app.jobs.jobs import arguments_of
from distill.__main__ import app
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
