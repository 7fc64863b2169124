"""A run's settings, said as a command, are read back by the command as the same settings."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import typer

from app.teaching.commands import arguments_of, command_needed
from distill.__main__ import app
from distill.llm.connection import LLMConfig
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
    control=False,
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
    config = replace(OTHER, teacher=teacher, rankings="", votes="")
    error = command_needed(config, tmp_path, "wise")
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
    assert tuple(shlex.split(typed)) == arguments_of(config, tmp_path)
