"""The command that begins a run with its settings, or goes on with it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from indexes.errors import InputError

if TYPE_CHECKING:
    from distill.run import RunConfig

SETTINGS_FILE = "settings.json"  # in the run's folder: what the page was told; the run notes its own beside it
_NOTED_FILE = "config.json"


def arguments_of(folder: Path, data_dir: Path) -> tuple[str, ...]:
    """What to give to `python -m distill run` for the run in `folder`."""
    known = folder / SETTINGS_FILE
    file = folder / _NOTED_FILE if (folder / _NOTED_FILE).is_file() and not known.is_file() else known
    return (f"--data-dir={data_dir.resolve()}", f"--config={file.resolve()}")


class CommandNeededError(InputError):
    """What only a `command` can do, typed where the teacher's LLM is set; `sentence` says why."""

    def __init__(self, sentence: str, command: str) -> None:
        super().__init__(f"{sentence} {command}")
        self.sentence = sentence
        self.command = command


def command_needed(config: RunConfig, folder: Path, data_dir: Path, page_llm: str) -> CommandNeededError:
    """The error of a run that was begun with another teacher than `page_llm`, with the command that goes on with it.

    A run notes its teacher's name, and never an endpoint beside a model's name, or a key.
    """
    setting, missing = _setting_of(config.teacher)
    where = f", with {missing} set as then" if missing else ""
    command = f"{setting} python -m distill run {shlex.join(arguments_of(folder, data_dir))}"
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
