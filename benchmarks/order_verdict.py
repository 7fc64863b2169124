"""How well a teacher's held-out orders foretell what judged questions say.

    make bench TABLE=order_verdict      BENCH_SET (stdlib), BENCH_SEEDS (1), BENCH_ROWS (all, or names with commas)

Each run is given the set's real orders of a large LLM and questions none of which says what answers it, so that a sixth
of the orders is kept out of training and judges. Beside its word, for what the orders have taught and for the free
control, stands what the dev questions say, whose answers the run never saw. Figures are kept in
DATA_DIR/bench/order_verdict.jsonl, so an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import provenance
from distill.jsonl import Record, appending, read_records
from distill.llm.asking import Asker
from distill.pipeline import run_distillation
from distill.ranker.token_vectors import TokenVectors
from distill.run import FROM_FILE, Event, RunConfig
from indexes.chroma import PassageIndex
from indexes.encoder_files import DEFAULT_ENCODER
from indexes.encoders import load_encoder
from indexes.evaluation import compare_runs
from indexes.ingest import add_files
from indexes.judging import judge
from indexes.paths import DataPaths
from indexes.queries import read_queries, write_queries

_DENSE: Mapping[str, Any] = {"retrieval": "dense"}  # what the LLM was shown when it gave the orders of stdlib
_PLAIN: Mapping[str, Any] = {"passage_weights": "none"}
ROWS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "dense": _DENSE,
    "direct": _DENSE | {"method": "direct"},
    "plain": _DENSE | _PLAIN,
    "direct-plain": _DENSE | _PLAIN | {"method": "direct", "n_scored": 10},
    "direct-full": _DENSE | {"method": "direct", "train": "full"},
}


def main() -> None:
    """Runs what is missing and prints the table."""
    name = os.environ.get("BENCH_SET", "stdlib")
    sets = Path(os.environ.get("BENCH_DATA", "../shared/data"))
    if not (sets / name / "llm_rankings.jsonl.gz").is_file():
        sys.exit(f"Skipped: there are no orders in {sets / name}. Set BENCH_DATA to a folder with a set that has them.")
    wanted = os.environ.get("BENCH_ROWS", "all")
    rows = list(ROWS) if wanted == "all" else wanted.split(",")
    seeds = [int(seed) for seed in os.environ.get("BENCH_SEEDS", "1").split(",")]
    paths = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    file = paths.root / "bench" / "order_verdict.jsonl"
    done = {(r["set"], r["row"], r["seed"]) for r in read_records(file)}
    token_vectors = TokenVectors()
    with appending(file) as append:
        for seed in seeds:
            for row in rows:
                if (name, row, seed) not in done:
                    for record in _measure(paths, sets / name, row, seed, token_vectors):
                        append(record)
    _print([record for record in read_records(file) if record["set"] == name], name)


def _measure(paths: DataPaths, folder: Path, row: str, seed: int, token_vectors: TokenVectors) -> list[Record]:
    encoder = load_encoder(DEFAULT_ENCODER, paths)
    for _ in add_files(paths, folder.name, [folder / "corpus.jsonl.gz"], encoder, wait_s=1800):
        pass
    questions, rankings = _without_answers(paths, folder)
    config = RunConfig(
        name=f"orders-{folder.name}-{row}-{seed}",
        corpus=folder.name,
        base=DEFAULT_ENCODER,
        questions=str(questions),
        teacher=FROM_FILE,
        rankings=str(rankings),
        seed=seed,
    )
    config = replace(config, **ROWS[row])
    metrics = run_distillation(paths, config, _no_llm, _say, token_vectors=token_vectors)
    shutil.rmtree(paths.run(config.name) / "retriever-checkpoints", ignore_errors=True)
    found = metrics["held_out_orders"]
    names = {role: metrics["rows"][role] for role in ("control", "taught")}
    judged = _judged(paths, folder, [config.base, *names.values()])
    return [
        {
            "set": folder.name,
            "row": row,
            "seed": seed,
            "role": role,
            "n": found["n"],
            "foretold": found["against_base"][name],
            "judged": judged[name],
            "machine": provenance(),
        }
        for role, name in names.items()
    ]


def _without_answers(paths: DataPaths, folder: Path) -> tuple[Path, Path]:
    """The set's questions without what answers those held out, and its orders as `--rankings` reads them."""
    work = (paths.root / "bench").resolve()
    work.mkdir(parents=True, exist_ok=True)
    queries = read_queries(folder / "questions.jsonl.gz")
    blind = [query if query.split == "train" else replace(query, positives=(), relevance=()) for query in queries]
    questions, rankings = work / f"{folder.name}-unjudged.jsonl", work / f"{folder.name}-orders.jsonl"
    if not questions.is_file():  # a newer file would be remarked upon
        write_queries(questions, blind)
    with gzip.open(folder / "llm_rankings.jsonl.gz", "rb") as lines:
        rankings.write_bytes(lines.read())
    return questions, rankings


def _judged(paths: DataPaths, folder: Path, encoders: list[str]) -> dict[str, Record]:
    """What the dev questions say of each encoder against the first, by nDCG@10."""
    queries = [query for query in read_queries(folder / "questions.jsonl.gz") if query.split == "dev"]
    opened = {name: PassageIndex.open(paths, folder.name, load_encoder(name, paths)) for name in encoders}
    found = judge(queries, {name: index.search_many for name, index in opened.items()}).by_query
    return {name: asdict(compare_runs(found[encoders[0]], found[name])) for name in encoders[1:]}


def _no_llm(temperature: float) -> Asker:
    raise AssertionError("no row of this table asks an LLM")


def _say(event: Event) -> None:
    if event.remark and not event.total:
        print(event.stage, event.remark)


def _print(records: list[Record], name: str) -> None:
    columns = ("teacher's first, to the base", "95 % interval", "judged nDCG@10, to the base", "95 % interval", "agree")
    table = Table(f"{name}, {len(records)} encoders", "seed", *columns)
    for record in sorted(records, key=lambda record: (record["row"], record["seed"], record["role"])):
        word, truth = record["foretold"], record["judged"]
        table.add_row(
            f"{record['row']}, {record['role']}",
            str(record["seed"]),
            f"{word['difference']:+.3f}",
            f"{word['low']:+.3f} to {word['high']:+.3f}",
            f"{truth['difference']:+.3f}",
            f"{truth['low']:+.3f} to {truth['high']:+.3f}",
            "yes" if word["difference"] * truth["difference"] > 0 else "no",
        )
    console = Console(width=140)
    console.print(table)
    console.print(*sorted({str(r["machine"]) for r in records}), sep="\n", highlight=False)


if __name__ == "__main__":
    main()
