"""The form of the Teach tab → the plan of a run, with what it would ask, cost and take, in sentences."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from app.question_log import asked_file, count_asked
from app.votes import people_orders
from distill.llm.connection import LLMConfig
from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.paths import DataPaths, slug
from indexes.queries import read_queries
from indexes.types import Query

if TYPE_CHECKING:
    from distill.run import RunConfig


Teacher = Literal["page", "endpoint", "embedded", "none"]
LEAST_WRITTEN, MOST_WRITTEN = 10, 5000
LEAST_CANDIDATES, MOST_CANDIDATES = 2, 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is to be taught and how: `upload` is a file of questions, without one `n_written` are to be written in the
    manner of `like` (one a line, may be empty). `votes` and `asked` take what people said and asked here as well. The
    last three are for the teacher "endpoint".
    """

    corpus: str
    name: str = ""
    upload: str = ""
    n_written: int = 200
    like: str = ""
    teacher: Teacher = "page"
    n_candidates: int = 10
    budget: str = ""
    train: Literal["both", "query"] = "both"
    votes: bool = False
    asked: bool = False
    base_url: str = ""
    model: str = ""
    key: str = field(default="", repr=False)


_MOST_EXAMPLES_CHARACTERS = 20_000


def files_of(lesson: Lesson) -> tuple[dict[str, bytes], Sequence[Query]]:
    """The files that the run needs, by name, the questions first; and the questions that were given."""
    if lesson.upload:
        file = Path(lesson.upload)
        return _questions_of(file)
    like = "\n".join(line.strip() for line in lesson.like[:_MOST_EXAMPLES_CHARACTERS].splitlines() if line.strip())
    if like and len(set(like.splitlines())) < 3:
        raise InputError("Give three to twenty example questions, one a line, or none at all.")
    return ({"like.txt": (like + "\n").encode("utf-8", "replace")} if like else {}), ()


def _questions_of(file: Path) -> tuple[dict[str, bytes], Sequence[Query]]:
    name = file.name.lower()
    if not name.endswith((".jsonl", ".jsonl.gz", ".txt")):
        raise InputError(
            f"'{file.name}' is no file of questions. Expected a .txt with one question a line, or a .jsonl or "
            '.jsonl.gz with a record {"question": …, "positives": [document ids]} a line.'
        )
    try:
        if name.endswith(".txt"):
            return _plain_questions(file)
        given = "given.jsonl.gz" if name.endswith(".gz") else "given.jsonl"
        return {given: file.read_bytes()}, read_queries(file)
    except InputError as error:
        raise InputError(str(error).replace(str(file), file.name)) from None
    except OSError:
        raise InputError(f"'{file.name}' is not on the server any more. Upload it again.") from None


def _plain_questions(file: Path) -> tuple[dict[str, bytes], Sequence[Query]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"'{file.name}' is no text in UTF-8. Save it as UTF-8, one question a line.") from None
    texts = list(dict.fromkeys(" ".join(line.split()) for line in lines if line.strip()))
    if not texts:
        raise InputError(f"'{file.name}' is empty. Put one question on each line.")
    records = [{"id": str(number), "question": text} for number, text in enumerate(texts, start=1)]
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return {"given.jsonl": content.encode()}, [Query(id=r["id"], text=r["question"]) for r in records]


_NAME = re.compile(r"[^\W_][\w .-]{0,59}")
_VOTES, _ASKED = "votes.jsonl", "asked.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A lesson that was found to make sense; `files` are to lie in the run's folder, `questions` are those given."""

    config: RunConfig
    llm: LLMConfig
    budget: str
    needs_key: bool
    files: Mapping[str, bytes]
    questions: Sequence[Query] = ()
    n_votes: int = 0
    n_asked: int = 0


def make_plan(lesson: Lesson, paths: DataPaths, baseline: str, page_llm: LLMConfig) -> Plan:
    """The plan of `lesson`; an `InputError` says what is to be filled in otherwise."""
    from distill.llm.spending import Meter, parse_budget
    from distill.pipeline import price_of
    from distill.run import WITHOUT_LLM, RunConfig

    corpus = Corpus.open(paths, lesson.corpus).name
    name = _checked_name(lesson.name.strip() or next_name(paths, corpus), baseline)
    llm = _llm_of(lesson, page_llm)
    files, questions = files_of(lesson)
    orders, n_asked = offered(lesson, paths, corpus)
    files |= _of_people(orders, asked_file(paths, corpus) if n_asked else None)
    folder = paths.run(name).resolve()
    config = RunConfig(
        name=name,
        corpus=corpus,
        base=baseline,
        questions=str(folder / next(iter(files))) if lesson.upload else "",
        n_written=0 if lesson.upload else _between("Questions to write", lesson.n_written, LEAST_WRITTEN, MOST_WRITTEN),
        like=str(folder / "like.txt") if "like.txt" in files else "",
        log=str(folder / _ASKED) if n_asked else "",
        votes=str(folder / _VOTES) if orders else "",
        n_candidates=_between("Passages to rank", lesson.n_candidates, LEAST_CANDIDATES, MOST_CANDIDATES),
        teacher=WITHOUT_LLM if lesson.teacher == "none" else llm.name,
        train=lesson.train,
    )
    Meter(budget=parse_budget(lesson.budget), price=price_of(llm, paths))  # says what is wrong with the budget
    needs_key = lesson.teacher == "endpoint" and bool(lesson.key.strip())
    return Plan(
        config=config,
        llm=llm,
        budget=lesson.budget.strip(),
        needs_key=needs_key,
        files=files,
        questions=questions,
        n_votes=len(orders),
        n_asked=n_asked,
    )


def offered(lesson: Lesson, paths: DataPaths, corpus: str) -> tuple[list[dict[str, Any]], int]:
    """The orders that people's votes give and the number of questions they asked, as far as `lesson` takes them."""
    orders = people_orders(paths, corpus) if lesson.votes else []
    return orders, count_asked(paths, corpus) if lesson.asked else 0


def _of_people(orders: Sequence[Mapping[str, Any]], asked: Path | None) -> dict[str, bytes]:
    """The files of a run that say what people did until now; what they do later changes no run that has begun."""
    lines = "".join(json.dumps(order, ensure_ascii=False) + "\n" for order in orders)
    files = {_VOTES: lines.encode()} if orders else {}
    return files | ({_ASKED: asked.read_bytes()} if asked else {})


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


def _llm_of(lesson: Lesson, page_llm: LLMConfig) -> LLMConfig:
    if lesson.teacher == "embedded":
        return LLMConfig(local_llm=page_llm.local_llm)
    if lesson.teacher != "endpoint":
        return page_llm
    try:
        parts = urlsplit(lesson.base_url.strip())
        fits = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    except ValueError:
        fits = False
    if not fits:
        raise InputError(
            "The address of the endpoint has to be whole and without a key in it, like http://localhost:8000/v1. "
            "The key has a field of its own."
        )
    model = lesson.model.strip()
    if not model:
        raise InputError("Say which model of the endpoint is to teach, as the endpoint calls it.")
    return LLMConfig(base_url=lesson.base_url.strip().rstrip("/"), api_key=lesson.key.strip() or None, model=model)


def _between(what: str, value: float | None, least: int, most: int) -> int:
    if value is None or value != int(value) or not least <= value <= most:
        raise InputError(f"{what}: a whole number from {least:,} to {most:,} is expected.")
    return int(value)


# Seconds on two cores: of a question whose candidates are scored and that trains, of a passage that is embedded.
_A_QUESTION = {"query": 0.25, "both": 1.4}
_A_PASSAGE = 1 / 40


def foresee(plan: Plan, paths: DataPaths) -> tuple[str, ...]:
    """Sentences on what the plan would ask, cost and take, and what it can show in the end."""
    from distill.pipeline import estimate, price_of

    with tempfile.TemporaryDirectory() as folder:
        config = plan.config
        if plan.questions:  # they lie in the run's folder only once it begins
            file = Path(folder) / Path(config.questions).name
            file.write_bytes(plan.files[file.name])
            config = replace(config, questions=str(file))
        found = estimate(paths, config, price_of(plan.llm, paths), is_embedded=plan.llm.is_embedded)
    n_passages = Corpus.open(paths, config.corpus).info().n_passages
    sentences = [*_about_questions(plan), *_about_people(plan)]
    if found.calls:
        cost = "at a price that is not known" if found.cost is None else f"for about {_dollars(found.cost)}"
        cost = "on this machine, for free" if plan.llm.is_embedded else cost
        sentences.append(
            f"About {found.calls:,} calls of {plan.llm.name} would read {found.prompt_tokens:,} tokens and write "
            f"{found.reply_tokens:,}, {cost}."
        )
    else:
        sentences.append("No LLM is asked, so it costs nothing.")
    n_training = _n_training(plan)
    embeds = config.train == "both" or config.weighs_passages
    n_taught = 2 if config.free_name else 1  # the free control beside it
    own = n_taught * (n_training * _A_QUESTION[config.train] + (n_passages * _A_PASSAGE if embeds else 0))
    also = "" if plan.llm.is_embedded or not found.calls else ", and however long the endpoint takes"
    sentences.append(f"That takes about {_duration(own + (found.seconds or 0))} on two cores{also}.")
    return tuple(sentences)


def _about_questions(plan: Plan) -> list[str]:
    from distill.questions.sources import assign_splits

    if not plan.questions:
        return []
    split = assign_splits(plan.questions, seed=plan.config.seed)
    held_out = [query for query in split if query.split != "train"]
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
    from distill.run import WITHOUT_LLM

    sentences = []
    if plan.n_votes:
        beside = "are the only ones" if plan.config.teacher == WITHOUT_LLM else "count beside the teacher's"
        sentences.append(f"People's votes give {plan.n_votes:,} order(s), which {beside}.")
    if plan.n_asked:
        sentences.append(f"{plan.n_asked:,} question(s) that people asked here train too.")
    return sentences


def _n_training(plan: Plan) -> int:
    return round(0.8 * (len(plan.questions) or plan.config.n_written))


def _dollars(amount: float) -> str:
    return f"{amount:.2f} US dollars" if amount >= 0.01 else "less than 0.01 US dollars"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "a minute"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
