"""The settings of a run → the options of `python -m distill run` that say them, and the command to type."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from indexes.errors import InputError

if TYPE_CHECKING:
    from distill.run import RunConfig

_NAMED_OTHERWISE = {"n_written": "write-questions", "styles": "style"}
_APART = ("base", "name", "corpus", "teacher", "insist", "styles", "control")


def arguments_of(config: RunConfig, data_dir: Path) -> tuple[str, ...]:
    """Every option in which `config` is not the default, and the corpus: with them a run begins or goes on.

    What people typed stands in single arguments, and the corpus behind "--".
    """
    from distill.run import WITHOUT_LLM

    options = [f"--data-dir={data_dir.resolve()}", f"--base={config.base}", f"--name={config.name}"]
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in _APART and value != field.default:
            options.append(f"--{_NAMED_OTHERWISE.get(field.name, field.name.replace('_', '-'))}={value}")
    options += [f"--style={style}" for style in config.styles]
    if config.insist:
        options.append("--insist")
    if not config.control:
        options.append("--no-control")
    if config.teacher == WITHOUT_LLM:
        options.append("--teacher=none")
    return (*options, "--", config.corpus)


class CommandNeededError(InputError):
    """What only a `command` can do, typed where the teacher's LLM is set; `sentence` says why."""

    def __init__(self, sentence: str, command: str) -> None:
        super().__init__(f"{sentence} {command}")
        self.sentence = sentence
        self.command = command


def command_needed(config: RunConfig, data_dir: Path, page_llm: str) -> CommandNeededError:
    """The error of a run that was begun with another teacher than `page_llm`, with the command that goes on with it.

    A run notes its teacher's name, and never an endpoint beside a model's name, or a key.
    """
    setting, missing = _setting_of(config.teacher)
    where = f", with {missing} set as then" if missing else ""
    command = f"{setting} python -m distill run {shlex.join(arguments_of(config, data_dir))}"
    return CommandNeededError(
        f"Run '{config.name}' was begun with the teacher '{config.teacher}', and this page's LLM is '{page_llm}', so "
        f"it goes on only by this command{where}:",
        command,
    )


def _setting_of(teacher: str) -> tuple[str, str]:
    """What in the environment makes an LLM called `teacher` the teacher, and which variables are not known."""
    from distill.llm.connection import LLMConfig
    from distill.llm.local_models import LOCAL_MODELS

    if teacher in LOCAL_MODELS or teacher.endswith(".gguf"):
        return f"OPENAI_BASE_URL= OPENAI_API_KEY= LOCAL_LLM={shlex.quote(teacher)}", ""
    if teacher == LLMConfig(api_key="any").name:
        return "OPENAI_BASE_URL= LLM_MODEL=", "OPENAI_API_KEY"
    if teacher.startswith(("http://", "https://")):
        return f"OPENAI_BASE_URL={shlex.quote(teacher)} LLM_MODEL=", "OPENAI_API_KEY"
    return f"LLM_MODEL={shlex.quote(teacher)}", "OPENAI_BASE_URL and OPENAI_API_KEY"
