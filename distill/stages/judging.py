"""The last stage: the mix of words and meaning, every retriever on held-out questions, and what follows from it."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import takewhile
from math import log2
from pathlib import Path
from typing import Any

import numpy as np

from distill.json_files import parsed, read_json, read_records, write_json
from distill.ranker.ranker import load_ranker
from distill.ranker.rerank import RankerScorer
from distill.records import CandidateList, Ranking, RetrieverReport
from distill.run import Distillation
from distill.run_config import FROM_FILE, WITHOUT_LLM
from distill.run_folder import (
    CANDIDATES,
    CONFIG,
    CONTROL,
    EVIDENCE,
    METRICS,
    MIX,
    QUESTIONS,
    RANKER,
    RANKINGS,
    REPORT,
    RETRIEVER,
)
from distill.stages.labelling import commanding, kept_out, orders
from distill.stages.training import control_of, ranker_report
from distill.teacher.orders import first_choices
from distill.teacher.ranking import status_shares
from distill.verdict.promotion import Advice, promote, promoted
from distill.verdict.report import Metrics, report_markdown
from distill.verdict.verdict import METRIC, JudgedBy, Rows, decide, take_look, undecided
from indexes.encoders.loading import RememberingEncoder
from indexes.encoders.torch import comparable
from indexes.errors import UserError
from indexes.evaluation import FEW_QUERIES, Judgement, judge, mean_interval
from indexes.lexical import Searchable
from indexes.mixes import DEFAULT_MIX, SCALE_DEPTH, Mix, blend, keep_mix, kept_mix
from indexes.passage_index import PassageIndex
from indexes.paths import write_file
from indexes.processes import child_environment
from indexes.queries import read_queries
from indexes.retrievers import AskedOnce, Retriever, Scorer, Search
from indexes.types import Candidate, Query

_SHARES = tuple(step / 10 for step in range(11))
_CUTOFF = 10  # of nDCG, as in the verdict
# An order adds at most 1 to a share's sum; straying by d from the prior costs 40 · d². On training questions of three
# corpora, 300 draws each: on average at most 0.001 nDCG@10 below the prior from 5 orders on, and at most
# 0.003 below the best share from 100 on.
_PULL = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a teacher put first for one question, how much that counts, and what meaning and words find for it."""

    question: str
    best: str
    dense: Sequence[Candidate]
    lexical: Sequence[Candidate]
    weight: float = 1.0


def fit_mix(heard: Sequence[Heard], prior: Mix = DEFAULT_MIX) -> Mix:
    """The mix of eleven that puts what the teacher put first highest by nDCG@10, held near `prior` by few orders.

    All that both searches find competes, not only what the teacher was shown. Among the passages shown alone any share
    from 0.1 to 0.9 does about as well on `stdlib` (MRR 0.46 to 0.48): the harm of words is in what only they find.
    """
    if not heard:
        return prior
    total = np.array([-_PULL * (share - prior.lexical) ** 2 for share in _SHARES])
    for each in heard:
        total += each.weight * np.array([_gain(each, share) for share in _SHARES])
    return Mix(lexical=_SHARES[int(np.argmax(total))], n_orders=len(heard))


def _gain(heard: Heard, share: float) -> float:
    """nDCG@10 of the mixed list where nothing but the teacher's first is relevant."""
    found = blend(heard.dense, heard.lexical, _CUTOFF, Mix(lexical=share))
    place = next((n for n, candidate in enumerate(found, start=1) if candidate.passage.id == heard.best), 0)
    return 1 / log2(place + 1) if place else 0.0


def learn_mixes(run: Distillation, encoders: Collection[str]) -> dict[str, Mix]:
    """The mix for each of these encoders' indexes, written to the run's folder; the base is one.

    The base learns from all orders, held near the mix that the corpus had for it before. An encoder that was taught
    puts what it was taught first far too high: from those orders 0.2 would be learned on ObliQA (nDCG@10 0.636), where
    0.6 is best (0.682). So it has the mix that it had before, or else the base's.
    """
    known = read_json(run.file(MIX))
    if known.keys() >= set(encoders):
        return {name: Mix(**known[name]) for name in encoders}
    base = run.config.base
    heard = hear(read_records(run.file(CANDIDATES), CandidateList), orders(run), run.index, run.lexical, run.texts)
    learned = fit_mix(list(heard.values()), kept_mix(run.corpus, base) or DEFAULT_MIX)
    mixes = {base: learned} | {name: kept_mix(run.corpus, name) or learned for name in encoders if name != base}
    write_json(run.file(MIX), {name: asdict(mix) for name, mix in mixes.items()})
    return mixes


def hear(
    records: Sequence[CandidateList],
    found: Mapping[str, Ranking],
    dense: Searchable,
    lexical: Searchable,
    texts: Mapping[str, str],
) -> dict[str, Heard]:
    """By question id what the orders `found` of the candidate `records` say, where what they put first had to be shown
    by one search or the other.
    """
    ordered = [record for record in records if record.id in found]
    questions = [record.question for record in ordered]
    rankings = (search.search_many(questions, SCALE_DEPTH) for search in (dense, lexical))
    heard = {}
    for record, by_meaning, by_words in zip(ordered, *rankings, strict=True):
        order = found[record.id]
        each = Heard(
            question=record.question,
            best=order.ranking[0],
            dense=by_meaning,
            lexical=by_words,
            weight=order.weight,
        )
        if was_open(each, {texts[passage] for passage in order.shown}):
            heard[record.id] = each
    return heard


def was_open(heard: Heard, shown: Collection[str]) -> bool:
    """Whether one search alone would have had the teacher's first `shown` (texts): whether it stands in one of the two
    rankings as far down as all passages were shown.

    What a fused retrieval shows is what both searches have, which speaks for an even mix whatever the truth: on
    `stdlib`, with perfect orders of the fused ten, half and half would be learned (nDCG@10 0.290), but 0.4 (0.317)
    where only these count.
    """
    return any(
        candidate.passage.id == heard.best
        for ranking in (heard.dense, heard.lexical)
        for candidate in takewhile(lambda each: each.passage.full_text in shown, ranking)
    )


def keep_mixes(run: Distillation, mixes: Mapping[str, Mix], *, promoted: bool) -> None:
    """Keeps with the corpus what was learned for its encoders; for the base only if another was promoted, as without
    that a run changes nothing of what was there before it.
    """
    indexed = {info.encoder for info in run.corpus.indexes()}
    for name, mix in mixes.items():
        if mix.n_orders and name in indexed and (promoted or name != run.config.base):
            keep_mix(run.corpus, name, mix)


_ORDERS = "judged by the teacher's own orders that trained nothing: what it put first counts as the answer"
_VERSIONED = ("sentence-transformers", "transformers", "torch", "chromadb", "xllamacpp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What is judged: the rows by name, and the index of each."""

    rows: Rows
    indexes: Mapping[str, PassageIndex]


def make_verdict(run: Distillation) -> None:
    """Judges every retriever, decides which is promoted, and leaves the figures and the report."""
    file = run.file(METRICS)
    if file.is_file():
        return
    judged_by, held_out = _held_out(run)
    opened = open_rows(run)
    trust = run.teacher.trust
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
    if run.config.teacher != WITHOUT_LLM and (told := commanding(run)):
        verdict = replace(verdict, advice=(Advice(sentence=told), *verdict.advice))
    if verdict.encoder:
        promote(run.paths, run.corpus.name, verdict.encoder, run.config.name)
    keep_mixes(run, mixes, promoted=bool(verdict.encoder))
    rankings = read_records(run.file(RANKINGS), Ranking)
    metrics = Metrics(
        config=read_json(run.file(CONFIG)),
        versions={package: version(package) for package in _VERSIONED},
        commit=_commit(),
        questions=len(held_out),
        held_out=_ORDERS if judged_by == "orders" else run.config.origin,
        rows=opened.rows,
        mixes=mixes,
        verdict=verdict,
        teacher=replace(run.teacher, statuses=status_shares(rankings) if rankings else {}),
        spend=run.spent(),
        evidence=read_json(run.file(EVIDENCE)),
        ranker=ranker_report(run),
        retriever=parsed(RetrieverReport, read_json(run.file(RETRIEVER))),
        control=parsed(RetrieverReport, read_json(run.file(CONTROL))),
        **figures,
    )
    write_file(run.file(REPORT), report_markdown(metrics))
    write_json(file, asdict(metrics))


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
        reranked=Retriever(encoder=run.config.base, kind="fused", is_reranked=True).key,
    )
    return Opened(rows=rows, indexes=indexes)


def _open(run: Distillation, name: str) -> PassageIndex:
    encoder = RememberingEncoder(run.opened(name))
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
        found = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True)  # noqa: S603
        return found.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _held_out(run: Distillation) -> tuple[JudgedBy, list[Query]]:
    """What judges: held-out questions of which it is known what answers them, else orders that trained nothing."""
    queries = read_queries(run.file(QUESTIONS))
    judged = [query for query in queries if query.split != "train" and query.grades]
    if judged:
        return ("questions" if run.config.questions else "written questions"), judged
    apart = kept_out(run)
    rankings = [record for record in read_records(run.file(RANKINGS), Ranking) if record.id in apart]
    return ("orders" if rankings else ""), first_choices(rankings, read_records(run.file(CANDIDATES), CandidateList))


def _judge(run: Distillation, queries: Sequence[Query], opened: Opened, mixes: Mapping[str, Mix]) -> Judgement:
    run.say("verdict", 0, len(queries))
    dense = {name: AskedOnce(index) for name, index in opened.indexes.items()}
    lexical, own = AskedOnce(run.lexical), run.config.name
    searches: dict[str, Searchable] = {**dense, "lexical": lexical}

    def add_fused(name: str, scorer: Scorer | None = None) -> None:
        way = Retriever(encoder=name, kind="fused", mix=mixes[name], is_reranked=scorer is not None)
        searches[way.key] = Search(way, lambda: dense[name], lambda: lexical, scorer)

    for name in dense:
        if name != opened.rows.standing:
            add_fused(name)
    ranker = load_ranker(run.file(RANKER), token_vectors=run.token_vectors)
    add_fused(run.config.base, RankerScorer(ranker, run.index, run.lexical))
    if opened.rows.taught:
        add_fused(own, RankerScorer(ranker, opened.indexes[own], run.lexical, is_taught=True))
    judgement = judge(queries, searches)
    run.say("verdict", len(queries), len(queries))
    return judgement


def _figures(judgement: Judgement) -> dict[str, Any]:
    """What questions have shown; no interval of a handful, which would be far too narrow."""
    enough = len(judgement.queries) >= FEW_QUERIES
    intervals = {name: mean_interval(values, METRIC) for name, values in judgement.by_query.items()} if enough else {}
    return {
        "retrievers": judgement.metrics,
        "comparisons": judgement.comparisons,
        "intervals": intervals,
    }
