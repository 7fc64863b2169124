"""The form of the Teach tab → a run's settings, what it would ask, cost and take, and the run in a process of its own.

A run that stopped goes on here too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from app.jobs.jobs import Jobs, arguments_of
from app.votes import asked_file, count_asked, people_orders
from distill.json_files import as_line
from distill.llm.connection import LLMConfig
from distill.run_config import FROM_FILE, WITHOUT_LLM, RunConfig, settings_text
from distill.run_folder import CONFIG, SETTINGS, Job, RunFolder, read_config
from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.paths import DataPaths, slug
from indexes.queries import read_queries
from indexes.types import Query

LEAST_WRITTEN, MOST_WRITTEN = 10, 5000
LEAST_CANDIDATES, MOST_CANDIDATES = 2, 20
_MOST_EXAMPLES_CHARACTERS = 20_000
_NAME = re.compile(r"[^\W_][\w .-]{0,59}")
_LIKE, _VOTES, _ASKED = "like.txt", "votes.jsonl", "asked.jsonl"


class Form(NamedTuple):
    """The form's values as gradio gives them, in the order of the tab's inputs; empty fields may be None.

    `upload` is a file of questions; `like` has a question a line; the teacher is "page", "endpoint" (`base_url`,
    `model` and `key` are its own), "embedded" or "none"; `votes` and `asked` take what people said and asked here too.
    """

    source: str = "write"
    upload: str | None = None
    corpus: str | None = None
    n_written: float | None = 200
    like: str | None = None
    teacher: str = "page"
    base_url: str | None = None
    model: str | None = None
    key: str | None = None
    train: Any = "both"
    name: str | None = None
    n_candidates: float | None = 10
    budget: str | None = None
    votes: bool | None = False
    asked: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run to begin: `files` are to lie in its folder, where the paths in `config` begin; `questions` are those given.

    `needs_key` says that the key in `llm` is a person's own, which is not kept on disk.
    """

    config: RunConfig
    llm: LLMConfig
    budget: str = ""
    needs_key: bool = False
    files: Mapping[str, bytes]
    questions: Sequence[Query] = ()
    n_votes: int = 0
    n_asked: int = 0


def make_plan(
    form: Form, paths: DataPaths, baseline: str, page_llm: LLMConfig, endpoints: Sequence[str] | None = None
) -> Plan:
    """The plan of what was filled in; an `InputError` says what is to be filled in otherwise.

    Of addresses only those under `endpoints` teach, beside the page's own; any does where that is None.
    """
    from distill.llm.spending import Meter, parse_budget
    from distill.pipeline import price_of

    if not form.corpus:
        raise InputError("There is no corpus yet. Add files on the Corpora tab to make one.")
    if form.source == "upload" and not form.upload:
        raise InputError("Upload a file of questions first, or have them written.")
    corpus = Corpus.open(paths, form.corpus).name
    name = _checked_name((form.name or "").strip() or next_name(paths, corpus), baseline)
    llm = _llm_of(form, page_llm, endpoints)
    given, questions = _questions_of(Path(form.upload or "")) if form.source == "upload" else ({}, ())
    orders = people_orders(paths, corpus) if form.votes else []
    n_asked = count_asked(paths, corpus) if form.asked else 0
    files = {
        **given,
        **(_examples_of(form.like or "") if not given else {}),
        # What people do later changes no run that has begun.
        **({_VOTES: "".join(map(as_line, orders)).encode()} if orders else {}),
        **({_ASKED: asked_file(paths, corpus).read_bytes()} if n_asked else {}),
    }
    config = RunConfig(
        name=name,
        corpus=corpus,
        base=baseline,
        questions=next(iter(given), ""),
        n_written=0 if given else _between("Questions to write", form.n_written, LEAST_WRITTEN, MOST_WRITTEN),
        like=_LIKE if _LIKE in files else "",
        log=_ASKED if n_asked else "",
        votes=_VOTES if orders else "",
        n_candidates=_between("Passages to rank", form.n_candidates, LEAST_CANDIDATES, MOST_CANDIDATES),
        teacher=WITHOUT_LLM if form.teacher == "none" else llm.name,
        train=form.train,
    )
    budget = (form.budget or "").strip()
    Meter(budget=parse_budget(budget), price=price_of(llm, paths))  # says what is wrong with the budget
    return Plan(
        config=config,
        llm=llm,
        budget=budget,
        needs_key=form.teacher == "endpoint" and bool((form.key or "").strip()),
        files=files,
        questions=questions,
        n_votes=len(orders),
        n_asked=n_asked,
    )


def _examples_of(like: str) -> dict[str, bytes]:
    lines = [line.strip() for line in like[:_MOST_EXAMPLES_CHARACTERS].splitlines() if line.strip()]
    if lines and len(set(lines)) < 3:
        raise InputError("Give three to twenty example questions, one a line, or none at all.")
    return {_LIKE: ("\n".join(lines) + "\n").encode("utf-8", "replace")} if lines else {}


def _questions_of(file: Path) -> tuple[dict[str, bytes], Sequence[Query]]:
    """The file of questions that the run needs, by its name there, and the questions in it."""
    name = file.name.lower()
    ending = next((each for each in (".jsonl", ".jsonl.gz", ".txt") if name.endswith(each)), "")
    if not ending:
        raise InputError(
            f"'{file.name}' is no file of questions. Expected a .txt with one question a line, or a .jsonl or "
            '.jsonl.gz with a record {"question": …, "positives": [document ids]} a line.'
        )
    try:
        return {f"given{ending}": file.read_bytes()}, read_queries(file)
    except InputError as error:
        raise InputError(str(error).replace(str(file), file.name)) from None
    except OSError:
        raise InputError(f"'{file.name}' is not on the server any more. Upload it again.") from None


def next_name(paths: DataPaths, corpus: str) -> str:
    """A name for a new retriever of `corpus` that nothing has yet."""
    number = 1
    while paths.run(name := f"{slug(corpus)}-taught-{number}").exists() or paths.encoder(name).exists():
        number += 1
    return name


def _checked_name(name: str, baseline: str) -> str:
    if not _NAME.fullmatch(name) or name == baseline:
        raise InputError(
            f"'{name}' cannot be the name of a new retriever. Take up to 60 letters, digits, blanks, dots and hyphens, "
            "beginning with a letter or a digit, and not the name of the baseline."
        )
    return name


def _llm_of(form: Form, page_llm: LLMConfig, endpoints: Sequence[str] | None) -> LLMConfig:
    if form.teacher == "embedded":
        return LLMConfig(local_llm=page_llm.local_llm)
    if form.teacher != "endpoint":
        return page_llm
    url, model = (form.base_url or "").strip(), (form.model or "").strip()
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        fits = False
    if not fits:
        raise InputError(
            "The address of the endpoint has to be whole and without a key in it, like http://localhost:8000/v1. "
            "The key has a field of its own."
        )
    own = [*(endpoints or ()), *filter(None, [page_llm.base_url])]
    if endpoints is not None and not any(f"{url}/".startswith(f"{each.rstrip('/')}/") for each in own):
        raise InputError(
            f"This page does not ask {url}: only addresses that whoever runs it has named. There "
            f"{'are' if own else 'is none'}{': ' + ', '.join(own) if own else ''}. Ask for APP_ENDPOINTS={url}"
        )
    if not model:
        raise InputError("Say which model of the endpoint is to teach, as the endpoint calls it.")
    return LLMConfig(base_url=url.rstrip("/"), api_key=(form.key or "").strip() or None, model=model)


def _between(what: str, value: float | None, least: int, most: int) -> int:
    if value is None or value != int(value) or not least <= value <= most:
        raise InputError(f"{what}: a whole number from {least:,} to {most:,} is expected.")
    return int(value)


# Seconds on two cores: of a question whose candidates are scored and that trains, of a passage that is embedded.
_A_QUESTION = {"query": 0.25, "both": 1.4}
_A_PASSAGE = 1 / 40
_FEW_PASSAGES = 100


class Foreseen(NamedTuple):
    """Sentences on what a plan would ask, cost and take, and what it can show in the end; `details` have numbers."""

    said: tuple[str, ...]
    details: tuple[str, ...] = ()


def foresee(plan: Plan, paths: DataPaths) -> Foreseen:
    """What can be said of `plan` before it runs."""
    from distill.pipeline import estimate, price_of
    from distill.questions.sources import assign_splits

    config = plan.config
    n_passages, n_characters = Corpus.open(paths, config.corpus).size()
    split = assign_splits(plan.questions, seed=config.seed) if plan.questions else []
    held_out = [query for query in split if query.split != "train"]
    n_training = len(split) - len(held_out) if split else None
    found = estimate(
        config,
        price_of(plan.llm, paths),
        n_characters=n_characters,
        is_embedded=plan.llm.is_embedded,
        n_training=n_training,
    )
    sentences = [*(_about_questions(split, held_out) if split else ()), *_about_people(plan)]
    details = []
    if n_passages < _FEW_PASSAGES:
        sentences.insert(
            0,
            f"Corpus '{config.corpus}' has only {n_passages:,} passage(s). Any retriever finds its way among so few: "
            f"teaching rarely shows a gain below {_FEW_PASSAGES:,}.",
        )
    if found.calls:
        cost = "at a price that is not known" if found.cost is None else f"for about {_dollars(found.cost)}"
        cost = "on this machine, for free" if plan.llm.is_embedded else cost
        sentences.append(f"{plan.llm.name} is asked, {cost}.")
        details.append(
            f"About {found.calls:,} calls would read {found.prompt_tokens:,} tokens and write {found.reply_tokens:,}."
        )
    else:
        sentences.append("No LLM is asked, so it costs nothing.")
    embeds = config.train == "both" or config.weighs_passages
    n_taught = 2 if config.free_name else 1  # the free control beside it
    n_questions = round(0.8 * (len(plan.questions) or config.n_written))
    own = n_taught * (n_questions * _A_QUESTION[config.train] + n_passages * embeds * _A_PASSAGE)
    also = "" if plan.llm.is_embedded or not found.calls else ", and however long the endpoint takes"
    sentences.append(f"That takes about {_duration(own + (found.seconds or 0))} on two cores{also}.")
    return Foreseen(tuple(sentences), tuple(details))


def _about_questions(split: Sequence[Query], held_out: Sequence[Query]) -> list[str]:
    n_judged = sum(bool(query.grades) for query in held_out)
    sentences = [f"{len(split) - len(held_out):,} questions train and {len(held_out):,} are held out."]
    if not n_judged:
        sentences.append(
            "None of those held out says which documents answer it, so no gain can be measured in the end, and the "
            "baseline is kept unless you promote the new retriever yourself."
        )
    elif n_judged < 30:
        sentences.append(f"Only {n_judged} of those held out say what answers them; so few rarely show a clear gain.")
    return sentences


def _about_people(plan: Plan) -> list[str]:
    sentences = []
    if plan.n_votes:
        beside = "are the only ones" if plan.config.teacher == WITHOUT_LLM else "count beside the teacher's"
        sentences.append(f"People's votes give {plan.n_votes:,} order(s), which {beside}.")
    if plan.n_asked:
        sentences.append(f"{plan.n_asked:,} question(s) that people asked here train too.")
    return sentences


def _dollars(amount: float) -> str:
    return f"{amount:.2f} US dollars" if amount >= 0.01 else "less than 0.01 US dollars"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "a minute"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def begin(jobs: Jobs, plan: Plan) -> str:
    """The name of the run that has begun; `InputError` if another one has the slot. No key is on disk."""
    config = plan.config
    if config.teacher not in (WITHOUT_LLM, FROM_FILE):
        config = replace(config, teacher="")  # the child finds the LLM in its environment
    job = Job(
        name=config.name,
        corpus=config.corpus,
        budget=plan.budget,
        environment=_environment(plan.llm),
        needs_key=plan.needs_key,
    )
    jobs.start(job, _secrets(plan.llm.api_key), {**plan.files, SETTINGS: settings_text(config).encode()})
    return job.name


def _environment(llm: LLMConfig) -> dict[str, str]:
    """What names `llm` to a child, without its key."""
    return {
        "OPENAI_BASE_URL": llm.base_url or "",
        "OPENAI_API_KEY": "",
        "LLM_MODEL": llm.model or "",
        "LOCAL_LLM": llm.local_llm,
    }


def _secrets(key: str | None) -> Mapping[str, str]:
    return {"OPENAI_API_KEY": key} if key else {}


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
    from distill.llm.weights import LOCAL_MODELS

    if teacher in LOCAL_MODELS or teacher.endswith(".gguf"):
        return f"OPENAI_BASE_URL= OPENAI_API_KEY= LOCAL_LLM={shlex.quote(teacher)}", ""
    if teacher == LLMConfig(api_key="any").name:
        return "OPENAI_BASE_URL= LLM_MODEL=", "OPENAI_API_KEY"
    if teacher.startswith(("http://", "https://")):
        return f"OPENAI_BASE_URL={shlex.quote(teacher)} LLM_MODEL=", "OPENAI_API_KEY"
    return f"LLM_MODEL={shlex.quote(teacher)}", "OPENAI_BASE_URL and OPENAI_API_KEY"


def go_on(jobs: Jobs, name: str, paths: DataPaths, *, budget: str, key: str, page_llm: LLMConfig) -> None:
    """Resumes the run called `name` with the page's key, or with `key` where a person's own one is needed.

    The page's key only ever goes to the page's endpoint, for the page's model. A run that was begun by a command goes
    on where the page's LLM, or the embedded one, is the teacher that it was begun with.
    """
    from distill.llm.spending import parse_budget

    parse_budget(budget)
    folder = RunFolder(paths.run(name))
    job, is_pages = folder.job, True
    if job is None or folder.file(CONFIG).is_file():
        config = read_config(folder.path)  # says so if an earlier version began it, whose command would be refused
        job = job or _job_of_command(paths, config, page_llm)
        is_pages = config.teacher != page_llm.local_llm  # the embedded one, which needs no key
    asked = job.environment.get("OPENAI_BASE_URL", ""), job.environment.get("LLM_MODEL", "")
    is_pages &= asked == (page_llm.base_url or "", page_llm.model or "")
    known = key.strip() if job.needs_key else page_llm.api_key if is_pages else ""
    jobs.resume(replace(job, budget=budget.strip()), _secrets(known))


def _job_of_command(paths: DataPaths, config: RunConfig, page_llm: LLMConfig) -> Job:
    """The job that goes on with a run which a command began."""
    known = [page_llm, LLMConfig(local_llm=page_llm.local_llm)]
    llm = next((each for each in known if config.teacher in (each.name, WITHOUT_LLM, FROM_FILE)), None)
    if llm is None:
        raise command_needed(config, paths.run(config.name), paths.root, page_llm.name)
    return Job(name=config.name, corpus=config.corpus, environment=_environment(llm))
