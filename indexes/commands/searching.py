"""What searches a corpus and judges the searches: search, evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table

from indexes.commands.console import console, print_found, print_json
from indexes.commands.options import AsJson, DataDir, EncoderName, open_paths
from indexes.encoder_files import DEFAULT_ENCODER
from indexes.encoders import load_encoder
from indexes.errors import InputError
from indexes.search import RetrieverKind

_FIRST_COLUMN, _BESIDE = 18, 3  # characters that the names of metrics take, and the frame beside each name


def search(
    corpus: str,
    question: str,
    encoder: EncoderName = DEFAULT_ENCODER,
    retriever: Annotated[RetrieverKind, typer.Option(help="By meaning, by words, or both.")] = "dense",
    k: Annotated[int, typer.Option(min=1, max=300, help="How many passages.")] = 10,
    source: Annotated[list[str] | None, typer.Option(help="Only of this source, or of these: reports/*")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only of this type of file: pdf, html …")] = None,
    since: Annotated[str, typer.Option(help="Only from this day on: 2026, 2026-11 or 2026-11-21.")] = "",
    until: Annotated[str, typer.Option(help="Only up to this day.")] = "",
    threshold: Annotated[float | None, typer.Option(help="Only with at least this score.")] = None,
    mmr: Annotated[float | None, typer.Option(help="Varied passages: 0 all variety, 1 all relevance.")] = None,
    rerank: Annotated[str | None, typer.Option(help="A cross-encoder, folder or hub name, for the order.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """The passages of CORPUS that answer QUESTION best."""
    from indexes.cross_encoder import load_cross_encoder
    from indexes.filters import PassageFilter
    from indexes.search import open_search

    paths = open_paths(data_dir)
    if rerank and (paths.run(rerank) / "ranker").is_dir():
        raise InputError(
            f"'{rerank}' is a run, and its ranker is no cross-encoder alone. Search with it by: "
            f"python -m distill search '{rerank}' QUESTION"
        )
    where = PassageFilter(sources=tuple(source or ()), kinds=tuple(kind or ()), since=since, until=until)
    scorer = load_cross_encoder(rerank) if rerank else None
    searched = open_search(paths, corpus, retriever, lambda: load_encoder(encoder, paths), scorer)
    print_found(searched.search(question, k, where, threshold=threshold, mmr=mmr), as_json=as_json)


def evaluate(
    corpus: str,
    questions: Annotated[Path, typer.Option(help="questions.jsonl[.gz] with positives.")],
    encoder: Annotated[list[str] | None, typer.Option(help="Once for each encoder to judge.")] = None,
    retriever: Annotated[str, typer.Option(help="Ways of searching: dense,lexical,fused.")] = "dense",
    k: Annotated[str, typer.Option(help="Cut-offs of hit rate and recall.")] = "1,5,10,20",
    split: Annotated[str | None, typer.Option(help="Only questions of this split.")] = None,
    as_json: AsJson = False,
    run_out: Annotated[Path | None, typer.Option(help="Write TREC run and qrels files here.")] = None,
    data_dir: DataDir = Path("data"),
) -> None:
    """Judge retrievers on questions whose relevant documents are known."""
    from indexes.judging import judge, open_searches
    from indexes.queries import read_queries

    cutoffs = _parse_cutoffs(k)
    queries = read_queries(questions, split)
    searches = open_searches(open_paths(data_dir), corpus, encoder or [DEFAULT_ENCODER], _parse_retrievers(retriever))
    report = judge(queries, searches, cutoffs, run_out)
    if as_json:
        print_json({"corpus": corpus, "questions": report.n_queries, "retrievers": report.metrics})
        return
    _print_metrics(report.n_queries, report.metrics)
    for comparison in report.comparisons:
        console.print(comparison, markup=False, soft_wrap=True)


def _print_metrics(n_queries: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """A column for each retriever; columns that could not show their names have numbers, explained above them."""
    heads = list(metrics)
    if sum(len(head) + _BESIDE for head in heads) > console.width - _FIRST_COLUMN:
        heads = [str(number) for number, _ in enumerate(metrics, start=1)]
        for number, name in zip(heads, metrics, strict=True):
            console.print(f"{number}: {name}", markup=False, soft_wrap=True)
    table = Table(f"{n_queries} questions", *heads)
    for metric in next(iter(metrics.values())):
        table.add_row(metric, *(f"{values[metric]:.3f}" for values in metrics.values()))
    console.print(table)


def _parse_retrievers(text: str) -> list[RetrieverKind]:
    """'dense,fused' as a list; raises a usage error otherwise."""
    known = get_args(RetrieverKind)
    kinds = [part.strip() for part in text.split(",")]
    if any(kind not in known for kind in kinds):
        raise typer.BadParameter(f"expected some of {', '.join(known)}; got '{text}'")
    return [kind for kind in known if kind in kinds]


def _parse_cutoffs(text: str) -> tuple[int, ...]:
    """'1,5,10' as numbers; raises a usage error otherwise."""
    try:
        cutoffs = tuple(int(part) for part in text.split(","))
        if min(cutoffs) < 1 or max(cutoffs) > 100:
            raise ValueError
    except ValueError as error:
        raise typer.BadParameter(f"expected whole numbers from 1 to 100 like 1,5,10; got '{text}'") from error
    return cutoffs
