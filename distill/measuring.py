"""The last stage: every retriever on held-out questions, and what follows from it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distill.control import control_of
from distill.json_files import read_json, write_json
from distill.jsonl import read_records
from distill.labelling import kept_out, orders
from distill.mixing import keep_mixes, learn_mixes
from distill.ranker.ranker import load_ranker
from distill.ranker.rerank import Reranker, taught_reranker
from distill.remembering import RememberingEncoder
from distill.run import FROM_FILE, WITHOUT_LLM, Distillation
from distill.teacher.ranking import status_shares
from distill.teaching import EVIDENCE_FILE
from distill.verdict.held_out_orders import first_choices
from distill.verdict.looks import take_look
from distill.verdict.promotion import promote, promoted
from distill.verdict.report import report_markdown
from distill.verdict.verdict import METRIC, JudgedBy, Rows, decide, fused, reranked, undecided
from indexes.chroma import PassageIndex
from indexes.encoders import load_encoder
from indexes.errors import UserError
from indexes.evaluation import FEW_QUERIES, mean_interval
from indexes.judging import Judgement, Search, judge
from indexes.lexical import search_fused
from indexes.mixes import Mix
from indexes.precision import comparable
from indexes.queries import read_queries
from indexes.types import Query

_RERANKED = "ranker over fused"
_ORDERS = "judged by the teacher's own orders that trained nothing: what it put first counts as the answer"
_VERSIONED = ("sentence-transformers", "transformers", "torch", "chromadb", "xllamacpp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What is judged: the rows by name, and the index of each."""

    rows: Rows
    indexes: Mapping[str, PassageIndex]


def make_verdict(run: Distillation) -> None:
    """Judges every retriever, decides which is promoted, and leaves the figures and the report."""
    file = run.file("metrics.json")
    if file.is_file():
        return
    judged_by, held_out = _held_out(run)
    teacher = read_json(run.file("teacher.json"))
    opened = open_rows(run)
    trust = teacher.get("trust", "")
    mixes = learn_mixes(run, opened.indexes)
    figures: dict[str, Any] = {}
    verdict = undecided(opened.rows, trust)
    if held_out:
        judgement = _judge(run, held_out, opened, mixes)
        figures = _figures(judgement)
        verdict = decide(
            judgement,
            opened.rows,
            corpus=run.corpus.name,
            whose=_whose(run),
            judged_by=judged_by,
            look=1 if judged_by == "orders" else take_look(run.paths.looks, run.digest, held_out),
            trust=trust,
        )
    if verdict.encoder:
        promote(run.paths, run.corpus.name, verdict.encoder, run.config.name)
    keep_mixes(run, mixes, promoted=bool(verdict.encoder))
    rankings = read_records(run.file("rankings.jsonl"))
    metrics = {
        "config": read_json(run.file("config.json")),
        "versions": {package: version(package) for package in _VERSIONED},
        "commit": _commit(),
        "questions": len(held_out),
        "held_out": _ORDERS if judged_by == "orders" else run.config.origin,
        "retrievers": {},
        "comparisons": [],
        "intervals": {},
        **figures,
        "rows": asdict(opened.rows),
        "mixes": {name: asdict(mix) for name, mix in mixes.items()},
        "verdict": asdict(verdict),
        "teacher": teacher | ({"statuses": status_shares(rankings)} if rankings else {}),
        "spend": run.spent(),
        "evidence": read_json(run.file(EVIDENCE_FILE)),
        "ranker": read_json(run.file("ranker") / "report.json"),
        "retriever": read_json(run.file("retriever.json")),
        "control": read_json(run.file("control.json")),
    }
    run.file("report.md").write_text(report_markdown(metrics), encoding="utf-8")
    write_json(file, metrics)


def open_rows(run: Distillation) -> Opened:
    """What the run has made and what there was before it, each with its index."""
    own, control = run.config.name, control_of(run)
    indexes: dict[str, PassageIndex] = {run.config.base: run.index}
    free = _open(run, control) if control else None
    taught = _open(run, own)
    weighted = ""
    if run.config.weighs_passages and not comparable(taught.encoder.fingerprint, run.encoder.fingerprint):
        weighted = f"weighted({run.config.base})"  # only questions were taught: passages are as before any teaching
        encoder = RememberingEncoder(taught.encoder, questions=run.index.encoder)
        indexes[weighted] = PassageIndex.open(run.paths, run.corpus.name, encoder)
    if free:
        indexes[control] = free
    indexes[own] = taught
    standing = _standing(run)
    if standing in indexes:
        standing = ""
    elif standing:
        indexes[standing] = _open(run, standing)
    has_orders = bool(orders(run))
    rows = Rows(
        base=run.config.base,
        weighted=weighted,
        control=control if has_orders else own,
        taught=own if has_orders else "",
        standing=standing,
        reranked=_RERANKED,
    )
    return Opened(rows=rows, indexes=indexes)


def _open(run: Distillation, name: str) -> PassageIndex:
    encoder = RememberingEncoder(load_encoder(name, run.paths))
    return PassageIndex.open(run.paths, run.corpus.name, encoder)


def _standing(run: Distillation) -> str:
    """The encoder that is promoted already, "" for none, or for one that cannot be searched with any more."""
    name = promoted(run.paths, run.corpus.name) or ""
    if name:
        try:
            _open(run, name)
        except UserError as error:
            run.say("verdict", remark=f"'{name}' is promoted but cannot be judged: {error}")
            return ""
    return name


def _whose(run: Distillation) -> str:
    """Whose orders taught."""
    if run.config.teacher == WITHOUT_LLM:
        return "people's votes" if run.config.votes else "the passages known to answer"
    return "the orders given" if run.config.teacher == FROM_FILE else "the LLM's orders"


def _commit() -> str:
    """The commit of the code that runs, "" where it is not a git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


def _held_out(run: Distillation) -> tuple[JudgedBy, list[Query]]:
    """What judges: held-out questions of which it is known what answers them, else orders that trained nothing."""
    queries = read_queries(run.file("questions.jsonl"))
    judged = [query for query in queries if query.split != "train" and query.grades]
    if judged:
        return ("questions" if run.config.questions else "written questions"), judged
    apart = kept_out(run)
    rankings = [record for record in read_records(run.file("rankings.jsonl")) if record["id"] in apart]
    return ("orders" if rankings else ""), first_choices(rankings, read_records(run.file("candidates.jsonl")))


def _judge(run: Distillation, queries: Sequence[Query], opened: Opened, mixes: Mapping[str, Mix]) -> Judgement:
    run.say("verdict", 0, len(queries))
    searches: dict[str, Search] = {name: index.search_many for name, index in opened.indexes.items()}
    searches["lexical"] = run.lexical.search_many
    for name, index in opened.indexes.items():
        if name != opened.rows.standing:
            searches[fused(name)] = partial(search_fused, index, run.lexical, mix=mixes[name])
    ranker = load_ranker(run.file("ranker"), token_vectors=run.token_vectors)
    searches[_RERANKED] = Reranker(searches[fused(run.config.base)], ranker, run.index, run.lexical).search_many
    if opened.rows.taught:
        taught = opened.indexes[run.config.name]
        first = searches[fused(run.config.name)]
        searches[reranked(run.config.name)] = taught_reranker(first, ranker, taught, run.lexical).search_many
    judgement = judge(queries, searches)
    run.say("verdict", len(queries), len(queries))
    return judgement


def _figures(judgement: Judgement) -> dict[str, Any]:
    """What questions have shown; no interval of a handful, which would be far too narrow."""
    enough = judgement.n_queries >= FEW_QUERIES
    intervals = {name: mean_interval(values, METRIC) for name, values in judgement.by_query.items()} if enough else {}
    return {
        "retrievers": judgement.metrics,
        "comparisons": list(judgement.comparisons),
        "intervals": intervals,
    }
