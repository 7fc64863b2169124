"""The stages of a run: each reads the file of the one before it and leaves its own, unless that is there already."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

from distill.candidates import mine_candidates
from distill.jsonl import read_records, write_records
from distill.questions import assign_splits, load_questions, write_questions
from distill.ranker import LateInteractionRanker
from distill.ranker_training import RankerReport, train_ranker
from distill.run import Distillation, RunConfig, write_json
from distill.teacher import first_shown_share, rank_candidates, status_shares
from indexes.chroma import PassageIndex, update_index
from indexes.encoders import SentenceTransformerEncoder, load_encoder
from indexes.errors import InputError, UserError
from indexes.judging import Judgement, Search, judge
from indexes.lexical import search_fused
from indexes.paths import DataPaths
from indexes.queries import read_queries, write_queries
from indexes.types import Passage, Query

_VERSIONED = ("sentence-transformers", "transformers", "torch", "chromadb", "xllamacpp")
_ROUND_TRIP_DEPTH = 20  # a written question must find its passage among so many fused ones


def make_questions(run: Distillation) -> None:
    """Reads or writes the questions and splits them."""
    file = run.file("questions.jsonl")
    if file.is_file():
        return
    config = run.config
    if config.questions:
        queries = load_questions(Path(config.questions), seed=config.seed)
    else:
        queries = assign_splits(_written(run), seed=config.seed)
    write_queries(file, _limited(queries, config.limit))


def _limited(queries: Sequence[Query], limit: int) -> list[Query]:
    """At most `limit` training questions (0: all), and every held-out one."""
    train = [query for query in queries if query.split == "train"]
    return [*(train[:limit] if limit else train), *(query for query in queries if query.split != "train")]


def _written(run: Distillation) -> list[Query]:
    def is_found(question: str, passage: Passage) -> bool:
        return any(c.passage.id == passage.id for c in run.fused([question], _ROUND_TRIP_DEPTH)[0])

    return write_questions(
        list(run.corpus.passages()),
        run.llm,
        run.config.n_written,
        run.file("written.jsonl"),
        is_found=is_found,
        seed=run.config.seed,
        on_progress=lambda done, total: run.say("questions", done, total),
        concurrency=run.concurrency,
    )


def _training_queries(run: Distillation) -> list[Query]:
    return read_queries(run.file("questions.jsonl"), "train")


def make_candidates(run: Distillation) -> None:
    """Retrieves for each training question."""
    if run.file("candidates.jsonl").is_file():
        return
    queries = _training_queries(run)
    depth = max(run.config.n_scored, run.config.n_candidates)
    run.say("candidates", 0, len(queries))
    records = [r for r in mine_candidates(queries, run.index, run.lexical, depth) if len(r["candidates"]) > 1]
    if not records:
        raise InputError(
            "To put candidates in order takes at least two of them, but no question has found two passages. "
            f"Add more documents to corpus '{run.corpus.name}'."
        )
    write_records(run.file("candidates.jsonl"), records)
    run.say("candidates", len(queries), len(queries))


def make_rankings(run: Distillation) -> None:
    """Has the teacher order the first candidates of each question."""
    n = run.config.n_candidates
    candidates = [r | {"candidates": r["candidates"][:n]} for r in read_records(run.file("candidates.jsonl"))]
    done = {record["id"] for record in read_records(run.file("rankings.jsonl"))}
    if all(record["id"] in done for record in candidates):
        return
    rank_candidates(
        candidates,
        run.texts,
        run.llm,
        run.file("rankings.jsonl"),
        seed=run.config.seed,
        on_progress=lambda done, total: run.say("rankings", done, total),
        concurrency=run.concurrency,
    )


def make_ranker(run: Distillation) -> None:
    """Trains stage 1."""
    folder = run.file("ranker")
    if folder.is_dir():
        return
    rankings = {record["id"]: record for record in read_records(run.file("rankings.jsonl"))}
    usable = [r for r in read_records(run.file("candidates.jsonl")) if len(rankings[r["id"]]["ranking"]) > 1]
    if not usable:
        raise UserError(
            f"None of the {len(rankings)} replies of the LLM held an order (see {run.file('rankings.jsonl')}). "
            "Use a stronger LLM: set LLM_MODEL."
        )
    ranker, report = train_ranker(
        _base_model(run.config, run.paths).model,
        usable,
        rankings,
        run.texts,
        run.file("ranker-checkpoints"),
        seed=run.config.seed,
        on_progress=lambda done, total: run.say("ranker", done, total),
    )
    partial = run.file("ranker.partial")
    ranker.save(partial)
    write_json(partial / "report.json", asdict(report))
    partial.rename(folder)


def _base_model(config: RunConfig, paths: DataPaths) -> SentenceTransformerEncoder:
    """The base encoder, loaded anew: training changes it in place, and the baseline's index goes on with the other."""
    encoder = load_encoder(config.base, paths)
    if not isinstance(encoder, SentenceTransformerEncoder):
        raise InputError(f"Only sentence-transformers encoders can be taught; '{config.base}' is none.")
    return encoder


def make_scores(run: Distillation) -> None:
    """Scores all candidates by the ranker."""
    if run.file("scores.jsonl").is_file():
        return
    ranker = LateInteractionRanker.load(run.file("ranker"))
    candidates = read_records(run.file("candidates.jsonl"))
    run.say("scores", 0, len(candidates))
    scores = ranker.score(candidates, run.texts)
    write_records(
        run.file("scores.jsonl"),
        [
            {
                "id": record["id"],
                "question": record["question"],
                "passages": [candidate["passage"] for candidate in record["candidates"]],
                "scores": [round(score, 5) for score in row],
            }
            for record, row in zip(candidates, scores, strict=True)
        ],
    )
    run.say("scores", len(candidates), len(candidates))


def make_retriever(run: Distillation) -> None:
    """Trains stage 2."""
    from distill.retriever import train_retriever

    folder = run.paths.encoder(run.config.name)
    if folder.is_dir():
        return
    train_retriever(
        _base_model(run.config, run.paths).model,
        read_records(run.file("scores.jsonl")),
        run.texts,
        folder,
        run.file("retriever-checkpoints"),
        card=_card_facts(run),
        seed=run.config.seed,
        on_progress=lambda done, total: run.say("retriever", done, total),
    )


def _card_facts(run: Distillation) -> dict[str, str]:
    origin = (run.config.questions and "given in a file") or f"written by {run.config.teacher}"
    return {
        "name": run.config.name,
        "base": run.config.base,
        "corpus": run.corpus.name,
        "teacher": run.config.teacher,
        "questions": f"{len(_training_queries(run))}, {origin}",
    }


def make_index(run: Distillation) -> None:
    """Indexes the corpus by the new encoder."""
    for done, total in update_index(run.paths, run.corpus, load_encoder(run.config.name, run.paths)):
        run.say("index", done, total)


def make_verdict(run: Distillation) -> None:
    """Judges every retriever on held-out questions."""
    file = run.file("metrics.json")
    if file.is_file():
        return
    rankings = read_records(run.file("rankings.jsonl"))
    ranker_report = RankerReport(**json.loads((run.file("ranker") / "report.json").read_text(encoding="utf-8")))
    held_out = _held_out(run)
    judgement = _judge(run, held_out) if held_out else None
    write_json(
        file,
        {
            "config": json.loads(run.file("config.json").read_text(encoding="utf-8")),
            "versions": {package: version(package) for package in _VERSIONED},
            "commit": _commit(),
            "questions": len(held_out),
            "held_out": "given in the question file" if run.config.questions else "written by the LLM",
            "retrievers": judgement.metrics if judgement else {},
            "verdict": list(judgement.comparisons) if judgement else [],
            "teacher": status_shares(rankings) | {"best_shown_at": first_shown_share(rankings)},
            "ranker": asdict(ranker_report),
        },
    )


def _commit() -> str:
    """The commit of the code that runs, "" where it is not a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


def _held_out(run: Distillation) -> list[Query]:
    queries = read_queries(run.file("questions.jsonl"))
    return [query for query in queries if query.split != "train" and query.grades]


def _judge(run: Distillation, queries: Sequence[Query]) -> Judgement:
    run.say("verdict", 0, len(queries))
    distilled = PassageIndex.open(run.paths, run.corpus.name, load_encoder(run.config.name, run.paths))

    searches: dict[str, Search] = {
        run.config.base: run.index.search_many,
        run.config.name: distilled.search_many,
        "lexical": run.lexical.search_many,
        f"fused({run.config.base})": run.fused,
        f"fused({run.config.name})": partial(search_fused, distilled, run.lexical),
    }
    return judge(queries, searches)
