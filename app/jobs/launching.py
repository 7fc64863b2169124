"""The form of the Teach tab → a run's settings, what it would ask, cost and take, and the run in a process of its own.

A run that stopped goes on here too.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from app.evaluating import uploaded_questions
from app.jobs.jobs import Jobs, arguments_of
from app.votes import asked_file, count_asked, people_orders
from distill.json_files import as_line
from distill.llm.connection import LLMConfig
from distill.run_config import FROM_FILE, WITHOUT_LLM, RunConfig, settings_text
from distill.run_folder import CONFIG, SETTINGS, Job, RunFolder, read_config
from indexes.corpus import Corpus
from indexes.errors import InputError, counted
from indexes.paths import DataPaths, slug
from indexes.types import Query

WRITTEN = {"query": 100, "both": 300}  # questions, where none are given
_MOST_EXAMPLES = 20
_LIKE, _VOTES, _ASKED = "like.txt", "votes.jsonl", "asked.jsonl"


class Form(NamedTuple):
    """The form's values as gradio gives them, in the order of the tab's inputs; empty fields may be None.

    Questions are to "write", to write "like" those of the file in `upload`, or are those of that file ("upload"). The
    teacher is the LLM of the "page" or "none". `people` takes what people asked and voted here too.
    """

    source: str = "write"
    upload: str | None = None
    corpus: str | None = None
    teacher: str = "page"
    train: Any = "both"
    budget: str | None = None
    people: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run to begin: its `questions`, and the `files` that are to lie in its folder, where paths in `config` begin."""

    config: RunConfig
    llm: LLMConfig
    budget: str = ""
    files: Mapping[str, bytes]
    questions: Sequence[Query] = ()
    n_votes: int = 0
    n_asked: int = 0


def make_plan(form: Form, paths: DataPaths, baseline: str, llm: LLMConfig) -> Plan:
    """The plan of what was filled in; an `InputError` says what is to be filled in otherwise."""
    from distill.llm.spending import Meter, parse_budget
    from distill.pipeline import price_of

    if not form.corpus:
        raise InputError("There is no corpus yet. Add files on the Corpora tab to make one.")
    if form.source != "write" and not form.upload:
        raise InputError("Upload a file of questions first, or have them written.")
    corpus = Corpus.open(paths, form.corpus).name
    given, questions = _questions_of(Path(form.upload or "")) if form.source == "upload" else ({}, ())
    orders = people_orders(paths, corpus)[0] if form.people else []
    n_asked = count_asked(paths, corpus) if form.people else 0
    files = {
        **given,
        **(_examples_of(Path(form.upload or "")) if form.source == "like" else {}),
        # What people do later changes no run that has begun.
        **({_VOTES: "".join(map(as_line, orders)).encode()} if orders else {}),
        **({_ASKED: asked_file(paths, corpus).read_bytes()} if n_asked else {}),
    }
    config = RunConfig(
        name=next_name(paths, corpus),
        corpus=corpus,
        base=baseline,
        questions=next(iter(given), ""),
        n_written=0 if given else WRITTEN[form.train],
        like=_LIKE if _LIKE in files else "",
        log=_ASKED if n_asked else "",
        votes=_VOTES if orders else "",
        teacher=WITHOUT_LLM if form.teacher == "none" else llm.name,
        train=form.train,
    )
    budget = (form.budget or "").strip()
    Meter(budget=parse_budget(budget), price=price_of(llm, paths))  # says what is wrong with the budget
    return Plan(
        config=config,
        llm=llm,
        budget=budget,
        files=files,
        questions=questions,
        n_votes=len(orders),
        n_asked=n_asked,
    )


def _examples_of(file: Path) -> dict[str, bytes]:
    texts = dict.fromkeys(" ".join(query.text.split()) for query in _questions_of(file)[1])
    if not 3 <= len(texts) <= _MOST_EXAMPLES:
        raise InputError(
            f"'{file.name}' has {counted(len(texts), 'question')}; to write in their manner, three to {_MOST_EXAMPLES} "
            "are expected. More than that teach by themselves."
        )
    return {_LIKE: ("\n".join(texts) + "\n").encode("utf-8", "replace")}


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
        return {f"given{ending}": file.read_bytes()}, uploaded_questions(file)
    except OSError:
        raise InputError(f"'{file.name}' is not on the server any more. Upload it again.") from None


def next_name(paths: DataPaths, corpus: str) -> str:
    """A name for a new retriever of `corpus` that nothing has yet."""
    number = 1
    while paths.run(name := f"{slug(corpus)}-taught-{number}").exists() or paths.encoder(name).exists():
        number += 1
    return name


# Seconds on two cores: of a question whose candidates are scored and that trains, of a passage that is embedded.
_A_QUESTION = {"query": 0.25, "both": 1.0}
_A_PASSAGE = 1 / 40
_FEW_PASSAGES = 100


class Foreseen(NamedTuple):
    """Sentences on what a plan would do, cost and take, and what it can show in the end; `details` have numbers.

    `duration` is how long it takes on two cores.
    """

    said: tuple[str, ...]
    details: tuple[str, ...]
    duration: str


def foresee(plan: Plan, paths: DataPaths) -> Foreseen:
    """What can be said of `plan` before it runs."""
    from distill.pipeline import estimate, price_of
    from distill.questions.reading import assign_splits

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
    sentences = [
        *(_about_questions(split, held_out) if split else [f"{plan.llm.name} writes {config.n_written} questions."]),
        *_about_people(plan),
        f"{plan.llm.name} puts passages in order for each, and the retriever learns from that order."
        if config.teacher != WITHOUT_LLM
        else "No LLM puts passages in order: the retriever learns from the questions alone.",
    ]
    details = [f"The new retriever will be called {config.name}."]
    if n_passages < _FEW_PASSAGES:
        sentences.insert(
            0,
            f"Corpus '{config.corpus}' has only {counted(n_passages, 'passage')}. Any retriever finds its way among so "
            f"few: teaching rarely shows a gain below {_FEW_PASSAGES:,}.",
        )
    if found.calls:
        dollars = f"{found.cost or 0:.2f} US dollars" if (found.cost or 0) >= 0.01 else "less than 0.01 US dollars"
        cost = "at a price that is not known" if found.cost is None else f"for about {dollars}"
        cost = "on this machine, for free" if plan.llm.is_embedded else cost
        sentences.append(f"The LLM is asked {cost}.")
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
    duration = _duration(own + (found.seconds or 0))
    sentences.append(f"That takes about {duration} on two cores{also}, and goes on when this page is closed.")
    return Foreseen(tuple(sentences), tuple(details), duration)


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
        beside = "and no others teach" if plan.config.teacher == WITHOUT_LLM else "beside the teacher's"
        sentences.append(f"People's votes give {counted(plan.n_votes, 'order')}, {beside}.")
    if plan.n_asked:
        sentences.append(f"Of what people asked here, {counted(plan.n_asked, 'question')} will train too.")
    return sentences


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
    # A run that asks nobody is tied to no LLM: it goes on whatever is chosen meanwhile.
    llm = plan.llm if config.n_written or not config.teacher else LLMConfig(local_llm=plan.llm.local_llm)
    job = Job(
        name=config.name,
        corpus=config.corpus,
        budget=plan.budget,
        environment=_environment(llm),
    )
    jobs.start(job, _secrets(llm.api_key), {**plan.files, SETTINGS: settings_text(config).encode()})
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


def go_on(jobs: Jobs, name: str, paths: DataPaths, *, budget: str, page_llm: LLMConfig) -> None:
    """Resumes the run called `name` with the page's key, which only ever goes to its endpoint, for its model.

    A run that was begun by a command goes on where the page's LLM, or the embedded one, is the teacher that it was
    begun with; one that was begun here with another endpoint once that is chosen again.
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
    if not is_pages and asked != ("", ""):
        raise InputError(
            f"Run '{name}' was begun with the LLM {' at '.join(filter(None, reversed(asked)))}. Choose that one at the "
            "top of the page, then press Resume again."
        )
    jobs.resume(replace(job, budget=budget.strip()), _secrets(page_llm.api_key if is_pages else ""))


def _job_of_command(paths: DataPaths, config: RunConfig, page_llm: LLMConfig) -> Job:
    """The job that goes on with a run which a command began."""
    known = [page_llm, LLMConfig(local_llm=page_llm.local_llm)]
    llm = next((each for each in known if config.teacher in (each.name, WITHOUT_LLM, FROM_FILE)), None)
    if llm is None:  # a run notes its teacher's name, and never an endpoint beside a model's name, or a key
        command = shlex.join(("python", "-m", "distill", "run", *arguments_of(paths.run(config.name), paths.root)))
        raise InputError(
            f"Run '{config.name}' was begun with the teacher '{config.teacher}', and this page's LLM is "
            f"'{page_llm.name}'. Choose that teacher at the top of the page, then press Resume again; or go on in a "
            f"terminal where it is set as then: {command}"
        )
    return Job(name=config.name, corpus=config.corpus, environment=_environment(llm))
