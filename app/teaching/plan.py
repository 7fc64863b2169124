"""A lesson → the plan of a run, or a sentence on what is to be filled in otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.asked import asked_file, count_asked
from app.teaching.given_questions import files_of
from app.teaching.lesson import LEAST_CANDIDATES, LEAST_WRITTEN, MOST_CANDIDATES, MOST_WRITTEN, Lesson
from app.vote_rankings import people_orders
from distill.llm.connection import LLMConfig
from indexes.corpus import Corpus
from indexes.errors import InputError
from indexes.paths import DataPaths, slug
from indexes.types import Query

if TYPE_CHECKING:
    from distill.run import RunConfig

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
    from distill.estimating import price_of
    from distill.llm.spending import Meter, parse_budget
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
