"""What each teacher and each method teaches: the taught retriever on a data set's dev questions.

    make bench TABLE=distill      BENCH_SET (obliqa), BENCH_SEEDS (1,2,3), BENCH_ROWS (all, or names with commas)

Every run's figures are kept in DATA_DIR/bench/distill.jsonl, so an interrupted benchmark goes on where it was and
prints the table of all runs that are there. Teachers called "simulated" are made from the known positives of training
questions; the noisy one errs like gpt-3.5-turbo's published orders in the set msmarco-dl19.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from benchmarks.simulated import Noise, fit_noise, noisy, perfect
from distill.candidates import mine_candidates
from distill.jsonl import Record, appending, read_records, write_records
from distill.llm.asking import Asker
from distill.pipeline import run_distillation
from distill.ranker.token_vectors import TokenVectors
from distill.run import FROM_FILE, WITHOUT_LLM, Event, RunConfig
from indexes.chroma import PassageIndex
from indexes.encoder_files import DEFAULT_ENCODER
from indexes.encoders import load_encoder
from indexes.ingest import add_files
from indexes.lexical import LexicalIndex
from indexes.paths import DataPaths
from indexes.queries import read_queries

_N_TRAIN = 1000
_N_RANKED = 10
_WAIT_S = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: whose orders teach, how many questions they are given for, and how."""

    teacher: str
    n_ordered: int = _N_TRAIN
    settings: Mapping[str, Any] = field(default_factory=dict)


_PLAIN = {"passage_weights": "none"}
_KL = {"objective": "kl"}
_FULL = {"train": "full"}
ROWS: Mapping[str, Row] = {
    "control-ranker": Row(teacher=WITHOUT_LLM),
    "positives": Row(teacher=WITHOUT_LLM, settings={"positives": "first"}),
    "control-ranker-kl": Row(teacher=WITHOUT_LLM, settings=_KL),
    "control-ranker-plain": Row(teacher=WITHOUT_LLM, settings=_PLAIN),
    "perfect": Row(teacher="perfect"),
    "perfect-kl": Row(teacher="perfect", settings=_KL),
    "perfect-plain": Row(teacher="perfect", settings=_PLAIN),
    "noisy": Row(teacher="noisy"),
    "noisy-kl": Row(teacher="noisy", settings=_KL),
    "noisy-direct": Row(teacher="noisy", settings={"method": "direct"}),
    "noisy-contrastive": Row(teacher="noisy", settings={"method": "contrastive"}),
    "pseudo-label": Row(teacher=WITHOUT_LLM, settings={"method": "pseudo-label"}),
    "control-ranker-full": Row(teacher=WITHOUT_LLM, settings=_FULL),
    "noisy-shallow": Row(teacher="noisy", settings={"n_scored": _N_RANKED}),
    "noisy-300": Row(teacher="noisy", settings={"limit": 300}),
    "noisy-300-of-1000": Row(teacher="noisy", n_ordered=300),
    "perfect-full": Row(teacher="perfect", settings=_FULL),
    "noisy-full": Row(teacher="noisy", settings=_FULL),
}


def main() -> None:
    """Runs what is missing and prints the table."""
    name = os.environ.get("BENCH_SET", "obliqa")
    sets = Path(os.environ.get("BENCH_DATA", "../shared/data"))
    if not (sets / name).is_dir():
        sys.exit(f"Skipped: there is no data set in {sets / name}. Set BENCH_DATA to a folder that has it.")
    wanted = os.environ.get("BENCH_ROWS", "all")
    rows = list(ROWS) if wanted == "all" else wanted.split(",")
    seeds = [int(seed) for seed in os.environ.get("BENCH_SEEDS", "1,2,3").split(",")]
    paths = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    file = paths.root / "bench" / "distill.jsonl"
    done = {(r["set"], r["row"], r["seed"]) for r in read_records(file)}
    token_vectors = TokenVectors()
    with appending(file) as append:
        for seed in seeds:
            for row in rows:
                if (name, row, seed) not in done:
                    append(_measure(paths, sets, name, row, seed, token_vectors))
    _print([record for record in read_records(file) if record["set"] == name], name)


def _measure(paths: DataPaths, sets: Path, name: str, row: str, seed: int, token_vectors: TokenVectors) -> Record:
    encoder = load_encoder(DEFAULT_ENCODER, paths)
    # Another of these benchmarks may be writing the same corpus.
    for _ in add_files(paths, name, [sets / name / "corpus.jsonl.gz"], encoder, wait_s=_WAIT_S):
        pass
    run_name = f"bench-{name}-{row}-{seed}"
    config = RunConfig(
        name=run_name,
        corpus=name,
        base=DEFAULT_ENCODER,
        questions=str((sets / name / "questions.jsonl.gz").resolve()),
        limit=_N_TRAIN,
        n_candidates=_N_RANKED,
        teacher=ROWS[row].teacher,
        control=False,  # it has rows of its own
        seed=seed,
    )
    config = replace(config, **ROWS[row].settings)
    if config.teacher != WITHOUT_LLM:
        file = paths.root / "bench" / f"{name}-{row}-{seed}.jsonl"
        _write_orders(file, config, ROWS[row].n_ordered, sets, paths)
        config = replace(config, teacher=FROM_FILE, rankings=str(file.resolve()))
    clock = _Clock()
    metrics = run_distillation(paths, config, _no_llm, clock.tick, token_vectors=token_vectors)
    shutil.rmtree(paths.run(run_name) / "retriever-checkpoints", ignore_errors=True)
    return {
        "set": name,
        "row": row,
        "seed": seed,
        "retrievers": metrics["retrievers"],
        "promoted": metrics.get("verdict", {}).get("promoted"),
        "seconds": clock.seconds(),
        "machine": provenance(),
        "own_name": run_name,
    }


def _no_llm(temperature: float) -> Asker:
    raise AssertionError("no row of this table asks an LLM")


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


def _write_orders(file: Path, config: RunConfig, n_ordered: int, sets: Path, paths: DataPaths) -> None:
    """The simulated teacher's orders of the first candidates of the first `n_ordered` training questions, as
    `--rankings` reads them.
    """
    queries = read_queries(Path(config.questions), "train")[: config.limit][:n_ordered]
    index = PassageIndex.open(paths, config.corpus, load_encoder(config.base, paths))
    lexical = LexicalIndex.open(paths, config.corpus)
    positives = {query.id: set(query.positives) for query in queries}
    order = _teacher(config, sets)
    records = mine_candidates(queries, index, lexical, _N_RANKED)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_records(
        file,
        [
            {"id": record["id"], "ranking": ranking}
            for record in records
            for ranking in order(record, positives[record["id"]])
        ],
    )


def _teacher(config: RunConfig, sets: Path) -> Callable[[Record, set[str]], list[list[str]]]:
    if config.teacher == "perfect":
        return lambda record, positives: [perfect(record, positives)]
    noise: Noise = fit_noise(sets / "msmarco-dl19")
    print(f"The noisy teacher is simulated: {noise}")
    return lambda record, positives: noisy(record, positives, noise, seed=config.seed)


def _print(records: list[Record], name: str) -> None:
    metric = "ndcg@10"
    table = Table(
        f"{name}, dev questions", "seeds", metric, "over the baseline", "fused", "ranker hit@1", "promoted", "minutes"
    )
    for row in ROWS:
        found = [record for record in records if record["row"] == row]
        if not found:
            continue
        gains = [_value(r, r["own_name"], metric) - _value(r, DEFAULT_ENCODER, metric) for r in found]
        fused = [
            _value(r, f"fused({r['own_name']})", metric) - _value(r, f"fused({DEFAULT_ENCODER})", metric) for r in found
        ]
        table.add_row(
            row + (" (simulated)" if ROWS[row].teacher in ("perfect", "noisy") else ""),
            str(len(found)),
            f"{np.mean([_value(r, r['own_name'], metric) for r in found]):.3f}",
            f"{np.mean(gains):+.3f} ({min(gains):+.3f} to {max(gains):+.3f})",
            f"{np.mean(fused):+.3f}",
            f"{np.mean([_value(r, 'ranker over fused', 'hit_rate@1') for r in found]):.3f}",
            f"{sum(bool(r['promoted']) for r in found)} of {len(found)}",
            f"{np.mean([sum(r['seconds'].values()) for r in found]) / 60:.1f}",
        )
    console = Console(width=140)
    console.print(table)
    console.print(*sorted({str(r["machine"]) for r in records}), sep="\n", highlight=False)


def _value(record: Record, retriever: str, metric: str) -> float:
    return float(record["retrievers"][retriever][metric])


if __name__ == "__main__":
    main()
