"""How well a teacher's held-out orders foretell what judged questions say.

    make bench TABLE=order_verdict      BENCH_SET (stdlib), BENCH_SEEDS (1), BENCH_ROWS (maps, or names with commas)

The real orders of a large LLM teach, a sixth of them is kept out and judges; beside its word stands what the dev
questions say. The row "maps" has cheap encoders of every quality (see order_maps), all others are whole runs, with what
the orders have taught and the free control. Figures are kept in DATA_DIR/bench/order_verdict.jsonl, so an interrupted
benchmark goes on where it was.
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
from scipy.stats import spearmanr

from benchmarks.machine import provenance
from benchmarks.order_maps import measure
from distill.json_files import appending, read_json, read_records
from distill.llm.calls import Asker
from distill.pipeline import run_distillation
from distill.ranker.ranker import TokenVectors
from distill.records import CandidateList, Ranking
from distill.run import Event
from distill.run_config import FROM_FILE, RunConfig
from distill.teacher.orders import first_choices
from distill.verdict.verdict import FIRST_CHOICE_METRIC, METRIC
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.evaluation import compare_runs, judge
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.queries import read_queries, write_queries
from indexes.types import Query

Figures = dict[str, Any]  # of one encoder, as a line of the table's file
_SHOWN: Mapping[str, Any] = {"stdlib": "dense", "obliqa": "fused"}  # what the LLM's orders are of, by set
ROWS: Mapping[str, Mapping[str, Any]] = {
    "both": {},
    "query": {"train": "query"},
    "query-plain": {"train": "query", "passage_weights": "none"},
    "paper": {"recipe": "paper"},
}


def main() -> None:
    """Runs what is missing and prints the table."""
    name = os.environ.get("BENCH_SET", "stdlib")
    sets = Path(os.environ.get("BENCH_DATA", "../shared/data"))
    if not (sets / name / "llm_rankings.jsonl.gz").is_file():
        sys.exit(f"Skipped: there are no orders in {sets / name}. Set BENCH_DATA to a folder with a set that has them.")
    rows = os.environ.get("BENCH_ROWS", "maps").split(",")
    seeds = [int(seed) for seed in os.environ.get("BENCH_SEEDS", "1").split(",")]
    paths = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    file = paths.root / "bench" / "order_verdict.jsonl"
    done = {(r["set"], r["row"], r["seed"]) for r in read_records(file, Figures)}
    token_vectors = TokenVectors()
    with appending(file) as append:
        for seed in seeds:
            for row in rows:
                if (name, row, seed) not in done:
                    for record in _measure(paths, sets / name, row, seed, token_vectors):
                        append({"set": name, "row": row, "seed": seed, "machine": provenance()} | record)
    _print([record for record in read_records(file, Figures) if record["set"] == name], name)


def _measure(paths: DataPaths, folder: Path, row: str, seed: int, token_vectors: TokenVectors) -> list[Figures]:
    encoder = load_encoder(DEFAULT_ENCODER, paths)
    for _ in add_files(paths, folder.name, [folder / "corpus.jsonl.gz"], encoder, wait_s=1800):
        pass
    if row == "maps":
        return [
            record | {"row": "maps", "what": f"{record['row']}, {record['epochs']}"}
            for record in measure(paths, folder, seed)
        ]
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
    config = replace(config, retrieval=_SHOWN[folder.name], **ROWS[row])
    metrics = run_distillation(paths, config, _no_llm, _say, token_vectors=token_vectors)
    shutil.rmtree(paths.run(config.name) / "retriever-checkpoints", ignore_errors=True)
    assert metrics is not None
    names = {"control": metrics.rows.control, "taught": metrics.rows.taught}
    encoders = [config.base, *names.values()]
    dev = [query for query in read_queries(folder / "questions.jsonl.gz") if query.split == "dev"]
    kept = _kept_out(paths.run(config.name))
    foretold = _judged(paths, folder.name, kept, encoders, FIRST_CHOICE_METRIC)
    judged = _judged(paths, folder.name, dev, encoders, METRIC)
    return [
        {
            "what": f"{row}, {role}",
            "n": len(kept),
            "foretold": foretold[name],
            "judged": judged[name],
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


def _kept_out(run: Path) -> list[Query]:
    apart = set(read_json(run / "kept-out.json")["questions"])
    rankings = [record for record in read_records(run / "rankings.jsonl", Ranking) if record.id in apart]
    return first_choices(rankings, read_records(run / "candidates.jsonl", CandidateList))


def _judged(
    paths: DataPaths, corpus: str, queries: list[Query], encoders: list[str], metric: str
) -> dict[str, Figures]:
    """What `queries` say of each encoder against the first."""
    opened = {name: PassageIndex.open(paths, corpus, load_encoder(name, paths)) for name in encoders}
    found = judge(queries, opened).by_query
    return {name: asdict(compare_runs(found[encoders[0]], found[name], metric)) for name in encoders[1:]}


def _no_llm(temperature: float) -> Asker:
    raise AssertionError("no row of this table asks an LLM")


def _say(event: Event) -> None:
    if event.remark and not event.total:
        print(event.stage, event.remark)


def _print(records: list[Figures], name: str) -> None:
    columns = ("by the teacher's word", "95 % interval", "judged", "95 % interval", "agree")
    table = Table(f"{name}, {len(records)} encoders", "seed", "orders", *columns)
    for record in records:
        word, truth = record["foretold"], record["judged"]
        table.add_row(
            record["what"],
            str(record["seed"]),
            str(record["n"]),
            f"{word['difference']:+.3f}",
            f"{word['low']:+.3f} to {word['high']:+.3f}",
            f"{truth['difference']:+.3f}",
            f"{truth['low']:+.3f} to {truth['high']:+.3f}",
            "yes" if word["difference"] * truth["difference"] > 0 else "no",
        )
    console = Console(width=140)
    console.print(table, _in_sum(records), highlight=False)
    console.print(*sorted({str(r["machine"]) for r in records}), sep="\n", highlight=False)


def _in_sum(records: list[Figures]) -> str:
    """How often the teacher's word and the judged questions agree."""
    honest = [r for r in records if not r["what"].startswith(("its reversed", "by length"))]
    surely = [r for r in honest if r["foretold"]["low"] > 0 or r["foretold"]["high"] < 0]
    pairs = [(r["foretold"]["difference"], r["judged"]["difference"]) for r in honest]
    rho = f", Spearman's ρ {spearmanr(pairs).statistic:.2f}" if len(pairs) > 2 else ""
    return (
        f"MRR@10 of first choices and nDCG@10 of dev questions, both to the base. {len(honest)} encoders that the LLM "
        f"itself judges{rho}, {_n_alike(honest)} with the same sign; {len(surely)} surely higher or lower by its word, "
        f"{_n_alike(surely)} of them with the same sign."
    )


def _n_alike(records: list[Figures]) -> int:
    return sum(r["foretold"]["difference"] * r["judged"]["difference"] > 0 for r in records)


if __name__ == "__main__":
    main()
