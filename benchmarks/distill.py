"""What each teacher and each way teaches: the taught retriever on a data set's dev questions.

    make bench TABLE=distill      BENCH_SET (stdlib), BENCH_SEEDS (1,2,3), BENCH_ROWS (all, or names with commas)

Every run's figures are kept in DATA_DIR/bench/distill.jsonl, so an interrupted benchmark goes on where it was and
prints the table of all runs that are there. "llm" are real orders of a large hosted LLM, where the set has them.
Teachers called "simulated" are made from the known positives of training questions: "perfect" puts them first and then
follows the untrained ranker; "noisy" errs like gpt-3.5-turbo's published orders in the set msmarco-dl19; "useless"
draws its orders, "reversed" turns the real ones round, or else the perfect ones, "copying" repeats the retrieval.
In "perfect-rounds" a simulated LLM is asked, which puts what does not answer in the order of the base encoder.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from benchmarks.methods import METHODS
from benchmarks.simulated import KnowingLLM, Noise, fit_noise, noisy
from distill.candidates import mine_candidates
from distill.json_files import appending, read_records, write_records
from distill.llm.calls import Asker
from distill.pipeline import run_distillation
from distill.ranker.ranker import LateInteractionRanker
from distill.records import CandidateList, Ranking
from distill.run import Connect, Distillation, Event
from distill.run_config import FROM_FILE, WITHOUT_LLM, RunConfig
from distill.run_folder import TARGETS
from distill.stages.labelling import orders
from indexes.corpus import Corpus
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder, load_trainable
from indexes.evaluation import judge, mean_interval
from indexes.ingest import add_files
from indexes.lexical import LexicalIndex
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.queries import read_queries
from indexes.types import Query

_N_TRAIN = 1000
_WAIT_S = 1800
Figures = dict[str, Any]  # of one run, as a line of the table's file
_METRIC = "ndcg@10"
_QUERY: Mapping[str, Any] = {"train": "query"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: whose orders teach, in which way, and with which settings."""

    teacher: str
    method: str = ""
    n_shown: int = 10
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_simulated(self) -> bool:
        """Whether the teacher is made from known positives, or from nothing."""
        return self.teacher not in (WITHOUT_LLM, "llm")

    @property
    def is_asked(self) -> bool:
        """Whether it is asked like an LLM: orders in a file know nothing of a second round's passages."""
        return "rounds" in self.settings


ROWS: Mapping[str, Row] = {
    "free": Row(teacher=WITHOUT_LLM),
    "free-query": Row(teacher=WITHOUT_LLM, settings=_QUERY),
    "llm": Row(teacher="llm"),
    "llm-query": Row(teacher="llm", settings=_QUERY),
    "llm-paper": Row(teacher="llm", settings={"recipe": "paper"}),
    "llm-direct": Row(teacher="llm", method="direct"),
    "llm-contrastive": Row(teacher="llm", method="contrastive"),
    "llm-direct-query": Row(teacher="llm", method="direct", settings=_QUERY),
    "llm-contrastive-query": Row(teacher="llm", method="contrastive", settings=_QUERY),
    "perfect": Row(teacher="perfect"),
    "perfect-query": Row(teacher="perfect", settings=_QUERY),
    "perfect-30": Row(teacher="perfect", n_shown=30),
    "perfect-rounds": Row(teacher="perfect", settings={"rounds": 2}),
    "noisy": Row(teacher="noisy"),
    "noisy-query": Row(teacher="noisy", settings=_QUERY),
    "noisy-paper": Row(teacher="noisy", settings={"recipe": "paper"}),
    "noisy-direct": Row(teacher="noisy", method="direct"),
    "noisy-contrastive": Row(teacher="noisy", method="contrastive"),
    "useless": Row(teacher="useless"),
    "reversed": Row(teacher="reversed"),
    "copying": Row(teacher="copying"),
}


def main() -> None:
    """Runs what is missing and prints the table."""
    name = os.environ.get("BENCH_SET", "stdlib")
    sets = Path(os.environ.get("BENCH_DATA", "../shared/data"))
    if not (sets / name).is_dir():
        sys.exit(f"Skipped: there is no data set in {sets / name}. Set BENCH_DATA to a folder that has it.")
    wanted = os.environ.get("BENCH_ROWS", "all")
    has_orders = (sets / name / "llm_rankings.jsonl.gz").is_file()
    rows = [row for row in ROWS if has_orders or ROWS[row].teacher != "llm"] if wanted == "all" else wanted.split(",")
    seeds = [int(seed) for seed in os.environ.get("BENCH_SEEDS", "1,2,3").split(",")]
    paths = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    file = paths.root / "bench" / "distill.jsonl"
    done = {(r["set"], r["row"], r["seed"]) for r in read_records(file, Figures)}
    with appending(file) as append:
        for seed in seeds:
            for row in rows:
                if (name, row, seed) not in done:
                    append(_measure(paths, sets, name, row, seed))
    _print([record for record in read_records(file, Figures) if record["set"] == name], name)


def _measure(paths: DataPaths, sets: Path, name: str, row: str, seed: int) -> Figures:
    encoder = load_encoder(DEFAULT_ENCODER, paths)
    # Another of these benchmarks may be writing the same corpus.
    for _ in add_files(paths, name, [sets / name / "corpus.jsonl.gz"], encoder, wait_s=_WAIT_S):
        pass
    config = _config(paths, sets, name, row, seed)
    clock = _Clock()
    connect = _knowing(paths, config) if ROWS[row].is_asked else _no_llm
    if method := ROWS[row].method:
        run_distillation(paths, config, connect, clock.tick, until="scores")
        _write_targets(paths, config, method)
    metrics = run_distillation(paths, config, connect, clock.tick)
    assert metrics is not None
    shutil.rmtree(paths.run(config.name) / "retriever-checkpoints", ignore_errors=True)
    queries = [q for q in read_queries(paths.run(config.name) / "questions.jsonl") if q.split != "train" and q.grades]
    return {
        "set": name,
        "row": row,
        "seed": seed,
        "retrievers": metrics.retrievers,
        "by_query": _by_query(paths, config, queries),
        "evidence": metrics.evidence,
        "promoted": bool(metrics.verdict and metrics.verdict.encoder),
        "seconds": clock.seconds(),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": provenance(),
        "own_name": config.name,
    }


def _config(paths: DataPaths, sets: Path, name: str, row: str, seed: int) -> RunConfig:
    kind = ROWS[row]
    config = RunConfig(
        name=f"bench-{name}-{row}-{seed}",
        corpus=name,
        base=DEFAULT_ENCODER,
        questions=str((sets / name / "questions.jsonl.gz").resolve()),
        limit=_N_TRAIN,
        n_candidates=kind.n_shown,
        teacher=kind.teacher,
        control=False,  # a row of its own
        seed=seed,
    )
    config = replace(config, **kind.settings)
    if kind.teacher == WITHOUT_LLM or kind.is_asked:
        return config
    given = sets / name / "llm_rankings.jsonl.gz"
    if kind.teacher != "llm":
        given = paths.root / "bench" / f"{name}-{row}-{seed}.jsonl"
        _write_orders(given, config, kind, sets, paths)
    return replace(config, teacher=FROM_FILE, rankings=str(given.resolve()))


def _write_targets(paths: DataPaths, config: RunConfig, method: str) -> None:
    run = Distillation(paths, config, _no_llm, lambda event: None)
    questions = {record.id: record.question for record in read_records(run.file("candidates.jsonl"), CandidateList)}
    write_records(run.file(TARGETS), METHODS[method](orders(run), questions))


def _by_query(paths: DataPaths, config: RunConfig, queries: Sequence[Query]) -> Mapping[str, list[float]]:
    """nDCG@10 of each question, for paired intervals between rows."""
    names = (DEFAULT_ENCODER, config.name)
    searches = {n: PassageIndex.open(paths, config.corpus, load_encoder(n, paths)) for n in names}
    found = judge(queries, searches).by_query
    return {name: [found[name][query.id][_METRIC] for query in queries] for name in names}


def _knowing(paths: DataPaths, config: RunConfig) -> Connect:
    texts: dict[str, list[str]] = {}
    for passage in Corpus.open(paths, config.corpus).passages():
        texts.setdefault(passage.document_id, []).append(passage.full_text)
    queries = read_queries(Path(config.questions), "train")
    answers = {query.text: [text for d in query.positives for text in texts.get(d, ())] for query in queries}
    llm = KnowingLLM(answers=answers, encoder=load_encoder(config.base, paths))
    return lambda temperature: Asker(llm)


def _no_llm(temperature: float) -> Asker:
    raise AssertionError("this row asks no LLM")


class _Clock:
    """Seconds by stage, between the first and the last word that each says."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def tick(self, event: Event) -> None:
        now = time.perf_counter()
        self._first.setdefault(event.stage, now)
        self._last[event.stage] = now

    def seconds(self) -> dict[str, float]:
        return {stage: round(self._last[stage] - first, 1) for stage, first in self._first.items()}


def _write_orders(file: Path, config: RunConfig, kind: Row, sets: Path, paths: DataPaths) -> None:
    """The simulated teacher's orders of the candidates of the training questions, as `--rankings` reads them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    real = sets / config.corpus / "llm_rankings.jsonl.gz"
    if kind.teacher == "reversed" and real.is_file():
        with gzip.open(real, "rt", encoding="utf-8") as lines:
            write_records(file, [order | {"ranking": order["ranking"][::-1]} for order in map(json.loads, lines)])
        return
    queries = read_queries(Path(config.questions), "train")[: config.limit]
    index = PassageIndex.open(paths, config.corpus, load_encoder(config.base, paths))
    retrieval = "dense" if config.corpus == "stdlib" else "fused"  # what the real orders were given over
    records = mine_candidates(
        queries, index, LexicalIndex.open(paths, config.corpus), kind.n_shown, retrieval=retrieval
    )
    records = [replace(record, candidates=record.candidates[: kind.n_shown]) for record in records]
    order = _teacher(config, kind, sets, paths, records, {query.id: set(query.positives) for query in queries})
    write_records(file, [Ranking(id=r.id, ranking=tuple(order(r)), shown=tuple(r.passages)) for r in records])


def _teacher(
    config: RunConfig,
    kind: Row,
    sets: Path,
    paths: DataPaths,
    records: Sequence[CandidateList],
    positives: Mapping[str, set[str]],
) -> Callable[[CandidateList], list[str]]:
    if kind.teacher == "noisy":
        noise: Noise = fit_noise(sets / "msmarco-dl19")
        print(f"The noisy teacher is simulated: {noise}")
        return lambda record: noisy(record, positives[record.id], noise, seed=config.seed)[0]
    if kind.teacher == "copying":
        return lambda record: [candidate.passage for candidate in record.candidates]
    if kind.teacher == "useless":
        return lambda record: random.Random(f"{config.seed}:{record.id}").sample(  # noqa: S311
            [c.passage for c in record.candidates], len(record.candidates)
        )
    perfect = _perfect(config, paths, records, positives)
    if kind.teacher == "reversed":
        return lambda record: perfect[record.id][::-1]
    return lambda record: perfect[record.id]


def _perfect(
    config: RunConfig, paths: DataPaths, records: Sequence[CandidateList], positives: Mapping[str, set[str]]
) -> dict[str, list[str]]:
    """Known positives first, then all by the untrained ranker."""
    corpus = read_texts(paths, config.corpus)
    ranker = LateInteractionRanker.from_encoder(load_trainable(config.base, paths).model)
    found = {}
    for record, scores in zip(records, ranker.score(records, corpus), strict=True):
        known = positives[record.id]
        rows = sorted(zip(record.candidates, scores, strict=True), key=lambda row: -row[1])
        found[record.id] = [c.passage for c, _ in sorted(rows, key=lambda row: row[0].document not in known)]
    return found


def read_texts(paths: DataPaths, corpus: str) -> Mapping[str, str]:
    """The full text of each passage by id."""
    return {passage.id: passage.full_text for passage in Corpus.open(paths, corpus).passages()}


def _print(records: list[Figures], name: str) -> None:
    headings = (f"{name}, dev", "seeds", _METRIC, "over the base (95 %)", "over free", "fused", "re-ranked")
    table = Table(*headings, "promoted", "minutes", "MB")
    free = {key: _mean_by_query(records, key) for key in ("free", "free-query")}
    for row in ROWS:
        found = [record for record in records if record["row"] == row]
        if not found:
            continue
        own, base = _mean_by_query(records, row), np.array(found[0]["by_query"][DEFAULT_ENCODER])
        better = max((f for f in free.values() if f is not None), key=lambda f: float(f.mean()), default=None)
        assert own is not None
        table.add_row(
            row + (" (simulated)" if ROWS[row].is_simulated else ""),
            str(len(found)),
            " ".join(f"{np.mean(r['by_query'][r['own_name']]):.3f}" for r in found),
            _interval(own - base),
            "" if better is None or row.startswith("free") else _interval(own - better),
            f"{np.mean([_value(r, 'fused({})') for r in found]):.3f}",
            f"{np.mean([_value(r, 'reranked(fused({}))') for r in found]):.3f}",
            f"{sum(r['promoted'] for r in found)} of {len(found)}",
            f"{np.mean([sum(r['seconds'].values()) for r in found]) / 60:.1f}",
            str(max(r["peak_mb"] for r in found)),
        )
    console = Console(width=160)
    console.print(table)
    base = records[0]["retrievers"]
    rest = [key for key in base if key in (DEFAULT_ENCODER, "lexical", f"fused({DEFAULT_ENCODER})")]
    console.print(*(f"{key}: {base[key][_METRIC]:.3f}" for key in rest), sep="; ")
    weighted = {v[_METRIC] for r in records for k, v in r["retrievers"].items() if k.startswith("weighted(")}
    console.print(*(f"weighted, untaught: {value:.3f}" for value in sorted(weighted)), sep="; ")
    console.print(*sorted({str(r["machine"]) for r in records}), sep="\n", highlight=False)


def _mean_by_query(records: Sequence[Figures], row: str) -> Any:
    """Each question's mean over the seeds, (Q,); None where the row was not run."""
    found = [record["by_query"][record["own_name"]] for record in records if record["row"] == row]
    return np.array(found).mean(0) if found else None


def _interval(differences: Any) -> str:
    found = mean_interval({str(n): {_METRIC: float(d)} for n, d in enumerate(differences)}, _METRIC)
    return f"{differences.mean():+.3f} ({found[0]:+.3f} to {found[1]:+.3f})"


def _value(record: Figures, name: str) -> float:
    return float(record["retrievers"].get(name.format(record["own_name"]), {}).get(_METRIC, float("nan")))


if __name__ == "__main__":
    main()
