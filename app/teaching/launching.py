"""A plan → a run that goes on in a process of its own, and a run that stopped → one that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from app.teaching.commands import SETTINGS_FILE, arguments_of, command_needed
from app.teaching.jobs import Job, Jobs
from app.teaching.plan import Plan
from distill.llm.connection import LLMConfig
from indexes.paths import DataPaths


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
    from distill.config_file import settings_text
    from distill.run import WITHOUT_LLM

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
