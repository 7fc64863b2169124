"""A run's settings, said as a command, are read back by the command as the same settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from app.commands import arguments_of
from distill.__main__ import app
from distill.run import WITHOUT_LLM, RunConfig

PLAIN = RunConfig(name="new", corpus="--help", base="keywords", n_written=50, teacher="wise")
OTHER = RunConfig(
    name="-n",
    corpus="field notes",
    base="keywords",
    questions="/q.jsonl",
    log="/asked.jsonl",
    like="/like.txt",
    styles=("claim", "question"),
    pair_share=0.5,
    topic_share=0.25,
    limit=7,
    retrieval="dense",
    n_candidates=6,
    n_scored=20,
    teacher=WITHOUT_LLM,
    control="fused",
    rankings="/orders.jsonl",
    votes="/votes.jsonl",
    mode="best-of",
    insist=True,
    positives="first",
    ranker="cross-encoder",
    ranker_base="/cross",
    ranker_loss="ranknet",
    ranker_train="full",
    method="direct",
    train="full",
    passage_weights="none",
    objective="kl",
    seed=5,
)


@pytest.mark.parametrize("config", [PLAIN, OTHER], ids=["plain", "other"])
def test_a_command_says_every_setting(config: RunConfig, tmp_path: Path) -> None:
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    read = run.make_context("run", [*arguments_of(config, tmp_path)]).params
    assert (read["corpus"], read["data_dir"]) == (config.corpus, tmp_path)
    assert read["teacher"] == ("none" if config.teacher == WITHOUT_LLM else "")
    for field in fields(config):
        if field.name not in ("corpus", "teacher"):
            name = {"n_written": "write_questions", "styles": "style"}.get(field.name, field.name)
            assert plain(read[name]) == plain(getattr(config, field.name)), field.name


def plain(value: Any) -> Any:
    """A value without what options do to it: paths are texts, and nothing is "" or none."""
    return str(value or "") if not isinstance(value, list | tuple) else [*value]
