"""A plan → a run that goes on in a process of its own, and a run that stopped → one that goes on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.jobs.jobs import Job, Jobs
from app.jobs.plan import Plan
from distill.llm.connection import LLMConfig
from indexes.errors import InputError
from indexes.paths import DataPaths

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
    from distill.llm.weights import LOCAL_MODELS

    if teacher in LOCAL_MODELS or teacher.endswith(".gguf"):
        return f"OPENAI_BASE_URL= OPENAI_API_KEY= LOCAL_LLM={shlex.quote(teacher)}", ""
    if teacher == LLMConfig(api_key="any").name:
        return "OPENAI_BASE_URL= LLM_MODEL=", "OPENAI_API_KEY"
    if teacher.startswith(("http://", "https://")):
        return f"OPENAI_BASE_URL={shlex.quote(teacher)} LLM_MODEL=", "OPENAI_API_KEY"
    return f"LLM_MODEL={shlex.quote(teacher)}", "OPENAI_BASE_URL and OPENAI_API_KEY"


def job_of(plan: Plan, paths: DataPaths) -> Job:
    """The job that carries `plan` out; no key is in it."""
    config = plan.config
    return Job(
        name=config.name,
        corpus=config.corpus,
        arguments=arguments_of(paths.run(config.name), paths.root),
        budget=plan.budget,
        environment=_environment(plan.llm),
        needs_key=plan.needs_key,
    )


def _environment(llm: LLMConfig) -> dict[str, str]:
    """What names `llm` to a child, without its key."""
    return {
        "OPENAI_BASE_URL": llm.base_url or "",
        "OPENAI_API_KEY": "",
        "LLM_MODEL": llm.model or "",
        "LOCAL_LLM": llm.local_llm,
    }


def begin(jobs: Jobs, plan: Plan, paths: DataPaths) -> str:
    """The name of the run that has begun; `InputError` if another one has the slot."""
    from distill.run import WITHOUT_LLM, settings_text

    # The child finds the LLM in its environment.
    config = plan.config if plan.config.teacher == WITHOUT_LLM else replace(plan.config, teacher="")
    job = job_of(plan, paths)
    settings = {SETTINGS_FILE: settings_text(config).encode()}
    jobs.start(job, _secrets(plan.llm.api_key), {**plan.files, **settings})
    return job.name


def go_on(jobs: Jobs, name: str, paths: DataPaths, *, budget: str, key: str, page_llm: LLMConfig) -> None:
    """Resumes the run called `name` with the page's key, or with `key` where a person's own one is needed.

    The page's key only ever goes to the page's endpoint. A run that was begun by a command goes on where the page's
    LLM, or the embedded one, is the teacher that it was begun with.
    """
    from distill.llm.spending import parse_budget
    from distill.run import read_config

    parse_budget(budget)
    if (paths.run(name) / "config.json").is_file():
        read_config(paths.run(name))  # says so if an earlier version began it, whose command would be refused
    job = jobs.find(name)
    if job is None:
        job, llm = _job_of_command(paths, name, page_llm)
        jobs.adopt(replace(job, budget=budget.strip()), _secrets(llm.api_key))
        return
    if job.needs_key:
        known = key.strip()
    elif job.environment.get("OPENAI_BASE_URL", "") == (page_llm.base_url or ""):
        known = page_llm.api_key or ""
    else:
        known = ""
    jobs.resume(name, budget=budget.strip(), secrets=_secrets(known))


def _job_of_command(paths: DataPaths, name: str, page_llm: LLMConfig) -> tuple[Job, LLMConfig]:
    """The job that goes on with a run which a command began, and its LLM."""
    from distill.run import FROM_FILE, WITHOUT_LLM, read_config

    config = read_config(paths.run(name))
    known = [page_llm, LLMConfig(local_llm=page_llm.local_llm)]
    llm = next((each for each in known if config.teacher in (each.name, WITHOUT_LLM, FROM_FILE)), None)
    if llm is None:
        raise command_needed(config, paths.run(name), paths.root, page_llm.name)
    arguments = arguments_of(paths.run(name), paths.root)
    return Job(name=name, corpus=config.corpus, arguments=arguments, environment=_environment(llm)), llm


def _secrets(key: str | None) -> Mapping[str, str]:
    return {"OPENAI_API_KEY": key} if key else {}
