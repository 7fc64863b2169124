"""The lesson of the demonstration: a large LLM's ready orders teach a retriever of it, and no LLM is asked."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from importlib import resources
from typing import Literal, NamedTuple

from app.demo import DEMO_CORPUS
from app.jobs.launching import Plan, begin, go_on
from app.rendering import notice_html
from app.tables import stages_list_html
from app.workbench import Workbench
from distill.run_config import FROM_FILE, RunConfig
from distill.run_folder import METRICS, RunFolder
from indexes.corpus import Corpus
from indexes.errors import InputError, UserError
from indexes.lexical import Searchable
from indexes.paths import DataPaths
from indexes.types import Candidate, Query

RUN = f"{DEMO_CORPUS}-ready-orders"
MINUTES = 15  # on two quiet cores, most of it the two trainings: by the orders, and without any
_QUESTIONS, _ORDERS = "questions.jsonl.gz", "llm_rankings.jsonl.gz"
_N_ORDERED = 10
_FIRST = 5
N_LISTED = 6

State = Literal["none", "offered", "going on", "stopped", "done"]


def state_of(bench: Workbench, corpus: str | None) -> State:
    """How the lesson stands for who looks at `corpus`: "none" where it is not the demonstration, or not indexed yet."""
    if corpus != DEMO_CORPUS:
        return "none"
    if (run := _run(bench)).path.is_dir():
        state = run.state
        return "done" if state == "done" else "going on" if state in ("running", "stopping") else "stopped"
    try:
        indexed = any(index.encoder == bench.encoder for index in Corpus.open(bench.paths, corpus).indexes())
    except UserError:
        return "none"
    return "offered" if indexed else "none"


def teach(bench: Workbench) -> None:
    """Begins the lesson, or goes on with one that stopped; `InputError` while another retriever is being taught."""
    if bench.paths.run(RUN).is_dir():
        go_on(bench.jobs, RUN, bench.paths, budget="", page_llm=bench.llm)
    else:
        begin(bench.jobs, _plan(bench))


def _run(bench: Workbench) -> RunFolder:
    return RunFolder(bench.paths.run(RUN))


def _plan(bench: Workbench) -> Plan:
    """Every question has an order, so no trained ranker has to fill in, and the wait is the shorter."""
    config = RunConfig(
        name=RUN,
        corpus=DEMO_CORPUS,
        base=bench.encoder,
        questions=_QUESTIONS,
        rankings=_ORDERS,
        teacher=FROM_FILE,
        n_candidates=_N_ORDERED,
        trains_ranker=False,
    )
    files = {_QUESTIONS: _known_questions(bench.paths), _ORDERS: _packaged(_ORDERS)}
    return Plan(config=config, llm=bench.llm, files=files)


def _packaged(name: str) -> bytes:
    return (resources.files("app") / "demo_data" / name).read_bytes()


def _known_questions(paths: DataPaths) -> bytes:
    """The questions that an entry of this Python answers, as a gzipped .jsonl file: other versions lack some."""
    here = {passage.document_id for passage in Corpus.open(paths, DEMO_CORPUS).passages()}
    lines = gzip.decompress(_packaged(_QUESTIONS)).decode("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if here.intersection(json.loads(line)["positives"])]
    if not kept:
        raise InputError(
            f"The ready orders are about the entries of Python's documentation, and corpus '{DEMO_CORPUS}' has none of "
            "them. Delete that corpus and start the page again: it is made anew."
        )
    return gzip.compress("".join(kept).encode("utf-8"), mtime=0)


class Found(NamedTuple):
    """What teaching changed, gains and losses alike, in a sentence; and the questions where the taught retriever finds
    what the baseline misses, those that rose most first.
    """

    sentence: str
    gained: tuple[str, ...]


def compare_found(queries: Sequence[Query], baseline: Searchable, taught: Searchable) -> Found:
    """What both retrievers find of `queries` among their first five passages."""
    texts = [query.text for query in queries]
    sides = [search.search_many(texts, 2 * _FIRST) for search in (baseline, taught)]
    places = [
        (_place(query, one), _place(query, other), query.text)
        for query, one, other in zip(queries, *sides, strict=True)
    ]
    gained = sorted((place for place in places if place[1] <= _FIRST < place[0]), key=lambda p: (p[1] - p[0], p[2]))
    n_baseline, n_taught = (sum(place[side] <= _FIRST for place in places) for side in (0, 1))
    sentence = (
        f"Of {len(places)} questions that took no part, the baseline has an answer among its first {_FIRST} passages "
        f"for {n_baseline}, the taught retriever for {n_taught}: it finds {len(gained)} that the baseline misses, and "
        f"misses {n_baseline - n_taught + len(gained)} that the baseline finds."
    )
    return Found(sentence, tuple(text for _, _, text in gained))


def _place(query: Query, found: Sequence[Candidate]) -> int:
    """Where the first answer stands, from 1; behind all where there is none."""
    known = {document for document, grade in query.grades.items() if grade > 0}
    places = (n for n, candidate in enumerate(found, start=1) if candidate.passage.document_id in known)
    return next(places, len(found) + 2 * _FIRST)


def found_by(bench: Workbench) -> Found:
    """What the two retrievers find of the lesson's held-out questions; kept while the run stays as it is."""
    return _found_by(bench, _run(bench).file(METRICS).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _found_by(bench: Workbench, changed_at: int) -> Found:
    sides = [bench.retrievers.index(DEMO_CORPUS, encoder) for encoder in (bench.encoder, RUN)]
    return compare_found(_run(bench).held_out, *sides)


def gained_by(bench: Workbench, corpus: str, *retrievers: str) -> tuple[str, ...]:
    """The questions that show best what the lesson changed, where these retrievers are the two of it."""
    is_lesson = set(retrievers) == {bench.encoder, RUN} and state_of(bench, corpus) == "done"
    return found_by(bench).gained[:N_LISTED] if is_lesson else ()


def lesson_html(bench: Workbench, state: State) -> str:
    """The offer, where the lesson is, or what it came to by the run's own verdict and in questions."""
    run = _run(bench)
    if state == "offered":
        return f'<div class="notice lesson">{_OFFER}</div>'
    if state == "going on":
        return notice_html(_GOES_ON, "busy") + stages_list_html(run.progress, run.state)
    if state == "stopped":
        return notice_html("Teaching stopped before its end. What it has done is kept.", "error")
    if state == "none":
        return ""
    measured = escape(run.verdict.sentence if run.verdict else "This run has no verdict.")
    return (
        f'<div class="notice done lesson"><b>Taught</b> from ready orders. {escape(found_by(bench).sentence)}'
        f'<p class="aside">{measured}</p></div>'
    )


_OFFER = (
    "<b>Taught</b> is not there yet. A large LLM has put passages in order for some 600 questions about this "
    "documentation; those orders come with this page and can teach a retriever of yours here, now."
)
_GOES_ON = "Teaching from the ready orders. This page may be closed: it goes on, and is here again. Teach can pause it."
