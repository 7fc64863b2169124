"""The last stage: every retriever on held-out questions, and what follows from it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

from distill.json_files import read_json, write_json
from distill.jsonl import read_records
from distill.mixing import keep_mixes, learn_mixes
from distill.ranker.ranker import load_ranker
from distill.ranker.rerank import Reranker
from distill.remembering import RememberingEncoder
from distill.run import Distillation
from distill.teacher.ranking import status_shares
from distill.verdict.looks import earlier_runs
from distill.verdict.promotion import promote, promoted
from distill.verdict.report import report_markdown
from distill.verdict.verdict import METRIC, decide
from indexes.chroma import PassageIndex
from indexes.encoders import load_encoder
from indexes.errors import UserError
from indexes.evaluation import mean_interval
from indexes.judging import Judgement, Search, judge
from indexes.lexical import search_fused
from indexes.mixes import Mix
from indexes.queries import read_queries
from indexes.types import Query

_NOTHING_JUDGED = Judgement(n_queries=0, metrics={}, by_query={}, comparisons=())
_RERANKED = "ranker over fused"
_VERSIONED = ("sentence-transformers", "transformers", "torch", "chromadb", "xllamacpp")


def make_verdict(run: Distillation) -> None:
    """Judges every retriever, decides whether the new one is promoted, and leaves the figures and the report."""
    file = run.file("metrics.json")
    if file.is_file():
        return
    held_out = _held_out(run)
    standing = _standing(run)
    taught = PassageIndex.open(run.paths, run.corpus.name, RememberingEncoder(load_encoder(run.config.name, run.paths)))
    mixes = learn_mixes(run, {run.config.base: run.index, run.config.name: taught})
    judgement = _judge(run, held_out, standing, taught, mixes) if held_out else None
    teacher = read_json(run.file("teacher.json"))
    verdict = decide(
        judgement or _NOTHING_JUDGED,
        baseline=run.config.base,
        distilled=run.config.name,
        fused_baseline=f"fused({run.config.base})",
        fused_distilled=f"fused({run.config.name})",
        origin=run.config.origin,
        trust=teacher.get("trust", ""),
        reranked=_RERANKED,
        standing=standing,
        n_earlier=len(earlier_runs(run.paths, run.corpus.name, run.config.name, held_out)),
    )
    if verdict.promoted:
        promote(run.paths, run.corpus.name, run.config.name, run.config.name)
    keep_mixes(run, mixes, promoted=verdict.promoted)
    rankings = read_records(run.file("rankings.jsonl"))
    metrics = {
        "config": read_json(run.file("config.json")),
        "versions": {package: version(package) for package in _VERSIONED},
        "commit": _commit(),
        "questions": len(held_out),
        "held_out": run.config.origin,
        "retrievers": judgement.metrics if judgement else {},
        "comparisons": list(judgement.comparisons) if judgement else [],
        "intervals": {name: mean_interval(values, METRIC) for name, values in judgement.by_query.items()}
        if judgement
        else {},
        "mixes": {name: asdict(mix) for name, mix in mixes.items()},
        "verdict": asdict(verdict),
        "teacher": teacher | ({"statuses": status_shares(rankings)} if rankings else {}),
        "spend": run.spent(),
        "ranker": read_json(run.file("ranker") / "report.json"),
        "retriever": read_json(run.file("retriever.json")),
    }
    run.file("report.md").write_text(report_markdown(metrics), encoding="utf-8")
    write_json(file, metrics)


def _standing(run: Distillation) -> str:
    """The encoder that is promoted already, "" for none, or for one that cannot be searched with any more."""
    name = promoted(run.paths, run.corpus.name) or ""
    if name:
        try:
            PassageIndex.open(run.paths, run.corpus.name, load_encoder(name, run.paths))
        except UserError as error:
            run.say("verdict", remark=f"'{name}' is promoted but cannot be judged: {error}")
            return ""
    return name


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


def _judge(
    run: Distillation, queries: Sequence[Query], standing: str, taught: PassageIndex, mixes: Mapping[str, Mix]
) -> Judgement:
    run.say("verdict", 0, len(queries))
    fused = {
        index.encoder.name: partial(search_fused, index, run.lexical, mix=mixes[index.encoder.name])
        for index in (run.index, taught)
    }
    ranker = load_ranker(run.file("ranker"), token_vectors=run.token_vectors)
    searches: dict[str, Search] = {
        run.config.base: run.index.search_many,
        run.config.name: taught.search_many,
        "lexical": run.lexical.search_many,
        **{f"fused({name})": search for name, search in fused.items()},
        _RERANKED: Reranker(fused[run.config.base], ranker, run.index, run.lexical).search_many,
    }
    if standing and standing not in searches:
        index = PassageIndex.open(run.paths, run.corpus.name, load_encoder(standing, run.paths))
        searches[standing] = index.search_many
    judgement = judge(queries, searches)
    run.say("verdict", len(queries), len(queries))
    return judgement
