"""The commands of `python -m indexes`, and what they print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from indexes import doctor as doctors
from indexes.corpus import Corpus, list_corpora
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder, load_late
from indexes.encoders.torch import Wish
from indexes.errors import InputError, StoreError, UserError, counted, outage
from indexes.evaluation import judge, unknown_positives, write_trec
from indexes.files import is_address
from indexes.filters import PassageFilter
from indexes.ingest import Embed, add_files, delete_corpus, export_corpus, import_corpus, remove_sources
from indexes.mixes import Mix, kept_mix
from indexes.paths import DataPaths, read_embeddings, read_store
from indexes.queries import read_judged, read_queries
from indexes.retrievers import Retriever, RetrieverKind, load_cross_encoder, open_search, open_searches
from indexes.types import Candidate, CorpusInfo, FileOutcome

console = Console(highlight=False, markup=False)  # names and texts from outside are no markup
messages = Console(stderr=True, highlight=False, markup=False)


def run_command_line(commands: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Runs a command line, the process's own by default: a `UserError`, a full memory or disk becomes its sentence on
    stderr and exit status 1. What it writes is for its user alone.
    """
    os.umask(os.umask(0) | 0o077)
    try:
        commands(arguments)
    except Exception as error:
        if not (sentence := str(error) if isinstance(error, UserError) else outage(error)):
            raise
        messages.print(sentence, style="red", soft_wrap=True)
        raise SystemExit(1) from None
    except SystemExit as ended:
        stopped = getattr(ended.__context__, "__cause__", None)  # what typer makes of Ctrl-C
        if isinstance(stopped, KeyboardInterrupt):
            what = f"Stopped{stopped}. What is done is kept: give the same command again to go on."
            messages.print(what, soft_wrap=True)
        raise


def print_found(found: Sequence[Candidate], *, as_json: bool) -> None:
    """Prints passages with their scores, best first."""
    if as_json:
        print_json([asdict(candidate.passage) | {"score": candidate.score} for candidate in found])
        return
    if not found:
        messages.print("No passage was found.")
    for rank, candidate in enumerate(found, start=1):
        passage = candidate.passage
        console.print(f"{rank:>3}  {candidate.score:.3f}  {passage.source}  {passage.title}")
        console.print(f"     {' '.join(passage.text.split())[:200]}")


def print_json(value: object) -> None:
    """Prints `value` as JSON."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


DataDir = Annotated[Path, typer.Option(envvar="DATA_DIR", help="Where everything is kept.", show_default=True)]
EncoderName = Annotated[
    str, typer.Option(envvar="ENCODER", help="A name under DATA_DIR/encoders, a folder, or a hub name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def open_paths(data_dir: Path) -> DataPaths:
    """Everything under `data_dir`, its vectors there too or where CHROMA_URL says, and the endpoint that embeds."""
    is_allowed = os.environ.get("FETCH_PRIVATE", "").strip().lower() in ("1", "true", "yes")
    return DataPaths(data_dir, read_store(os.environ), read_embeddings(os.environ), is_allowed)


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
    paths = open_paths(data_dir)
    if rerank and (paths.run(rerank) / "ranker").is_dir():
        raise InputError(
            f"'{rerank}' is a run, and its ranker is no cross-encoder alone. Search with it by: "
            f"python -m distill search '{rerank}' QUESTION"
        )
    where = PassageFilter(sources=tuple(source or ()), kinds=tuple(kind or ()), since=since, until=until)
    scorer = load_cross_encoder(rerank) if rerank else None
    way = Retriever(encoder=encoder, kind=retriever, is_reranked=bool(rerank))
    opened = open_search(paths, corpus, way, partial(load_encoder, paths=paths), scorer)
    print_found(opened.search(question, k, where, threshold=threshold, mmr=mmr), as_json=as_json)


def evaluate(
    corpus: str,
    questions: Annotated[Path, typer.Option(help="questions.jsonl[.gz] with positives, or BEIR's queries.jsonl.")],
    qrels: Annotated[Path | None, typer.Option(help="What answers them, as BEIR's tsv or TREC's columns.")] = None,
    encoder: Annotated[list[str] | None, typer.Option(help="Once for each encoder to judge.")] = None,
    retriever: Annotated[str, typer.Option(help="Ways of searching: dense,lexical,fused.")] = "dense",
    k: Annotated[str, typer.Option(help="Cut-offs of hit rate and recall.")] = "1,5,10,20",
    split: Annotated[str | None, typer.Option(help="Only questions of this split.")] = None,
    as_json: AsJson = False,
    run_out: Annotated[Path | None, typer.Option(help="Write TREC run and qrels files here.")] = None,
    data_dir: DataDir = Path("data"),
) -> None:
    """Judge retrievers on questions whose relevant documents are known."""
    cutoffs = _parse_cutoffs(k)
    queries = read_judged(questions, qrels, split) if qrels else read_queries(questions, split)
    kinds, paths = _parse_retrievers(retriever), open_paths(data_dir)
    if unknown := unknown_positives(queries, Corpus.open(paths, corpus).document_ids()):
        messages.print(unknown, soft_wrap=True)
    ways = [Retriever(encoder=name, kind=kind) for kind in kinds for name in encoder or [DEFAULT_ENCODER]]
    searches = open_searches(paths, corpus, ways, partial(load_encoder, paths=paths))
    report = judge(queries, searches, cutoffs)
    if run_out:
        write_trec(run_out, report)
    if as_json:
        print_json({"corpus": corpus, "questions": len(report.queries), "retrievers": report.metrics})
        return
    _print_metrics(len(report.queries), report.metrics)
    for comparison in report.comparisons:
        console.print(comparison, soft_wrap=True)


def _print_metrics(n_queries: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """A column for each retriever; columns that could not show their names have numbers, explained above them."""
    heads = list(metrics)
    if sum(len(head) + _BESIDE for head in heads) > console.width - _FIRST_COLUMN:
        heads = [str(number) for number, _ in enumerate(metrics, start=1)]
        for number, name in zip(heads, metrics, strict=True):
            console.print(f"{number}: {name}", soft_wrap=True)
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


class ProgressBars:
    """A bar for each piece of work, by its label."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = console
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}
        self._tenths: dict[str, int] = {}

    def __enter__(self) -> ProgressBars:
        self._bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Prints a line above the bars."""
        self._console.print(text, soft_wrap=True)

    def show(self, label: str, done: int, total: int) -> None:
        """Moves the bar of `label`; work of which there is nothing to do is not shown."""
        if not total:
            return
        if not self._console.is_terminal:
            if self._tenths.get(label) != 10 * done // total:  # it may begin anew: a control is scored, then trained
                self._tenths[label] = 10 * done // total
                self.say(f"{label}: {done} of {total}")
            return
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label)
        self._bars.update(self._tasks[label], completed=done, total=total)


def add(
    corpus: str,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Files, folders, addresses of web pages or sitemaps.")
    ] = None,
    encoder: EncoderName = DEFAULT_ENCODER,
    sync: Annotated[
        bool, typer.Option("--sync", help="Take out of CORPUS every other file than those of PATH.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for another program that is writing.")
    ] = 0,
    precision: Annotated[
        Wish, typer.Option(help="Number format of the encoder; auto: that of the index there is, or what pays here.")
    ] = "auto",
    engine: Annotated[
        Literal["here", "ray"], typer.Option(help="Embed in this process, or on the Ray cluster at RAY_ADDRESS.")
    ] = "here",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of the cluster; by default one for each GPU, or else each core.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what became of each file as JSON.")] = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """Read files into CORPUS and index them; without PATH, bring the encoder's index up to date.

    A web page is called by its address; a sitemap, and a text file of addresses, stand for the pages
    that they name. A file is known by its content: an unchanged one costs nothing, and a renamed one keeps its
    vectors. An interrupted add goes on where it was.
    """
    if sync and not files:
        raise typer.BadParameter("--sync needs PATH: the corpus will have exactly its files")
    paths = open_paths(data_dir)
    embed = _ray_engine(encoder, paths, workers) if engine == "ray" else None
    outcomes: list[FileOutcome] = []
    with ProgressBars(messages) as bars:
        loaded = load_late(encoder, paths, precision, bars.say)
        for event in add_files(
            paths, corpus, _given(files or []), loaded, sync=sync, wait_s=wait, on_wait=bars.say, embed=embed
        ):
            if event.outcome:
                outcomes.append(event.outcome)
                bars.say(_outcome_line(event.outcome))
            bars.show(event.stage, event.done, event.total)
        if n_older := len(Corpus.open(paths, corpus).older_sources()):
            bars.say(
                f"An older version of this program read {counted(n_older, 'other file')} of this corpus. Add those "
                f"again, or have what was kept of them read again: python -m indexes doctor '{corpus}' --repair"
            )
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    if n_failed := sum(outcome.status == "failed" for outcome in outcomes):
        raise InputError(
            f"{counted(n_failed, 'file')} could not be read; the reasons stand above. The others are indexed."
        )


def _given(texts: Sequence[str]) -> list[Path | str]:
    """What is to be added: files and folders as paths, web pages as addresses, those of a list in its place."""
    given: list[Path | str] = []
    for text in texts:
        path = Path(text)
        if is_address(text):
            given.append(text)
        elif path.suffix.lower() == ".txt" and path.is_file() and _begins_with_address(path):
            from indexes.web_pages import listed_addresses

            given += listed_addresses(path.read_bytes()) or [path]
        else:
            given.append(path)
    return given


def _begins_with_address(file: Path) -> bool:
    with file.open("rb") as content:
        return is_address(content.read(9).decode("utf-8", "replace"))


def _outcome_line(outcome: FileOutcome) -> str:
    counts = f"{outcome.n_documents} documents, {outcome.n_passages} passages" if outcome.n_documents else ""
    return f"{outcome.source}: " + ", ".join(filter(None, (outcome.status, counts, outcome.reason)))


def _ray_engine(encoder: str, paths: DataPaths, n_workers: int | None) -> Embed:
    """What embeds on a Ray cluster; Ray reports no usage statistics unless RAY_USAGE_STATS_ENABLED says so."""
    from indexes.ray_engine import RayEngine

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    there = replace(paths, root=paths.root.resolve())  # workers have other working folders
    return RayEngine(load=partial(load_encoder, encoder, there), n_workers=n_workers)


def list_(as_json: AsJson = False, data_dir: DataDir = Path("data")) -> None:
    """The corpora and their indexes."""
    paths = open_paths(data_dir)
    corpora = list_corpora(paths)
    if as_json:
        print_json([asdict(info) | ({} if info.damage else _details(paths, info)) for info in corpora])
        return
    if not corpora:
        console.print("There is no corpus yet. Make one with: python -m indexes add NAME PATH...")
        return
    table = Table("corpus", "sources", "documents", "passages", "indexed by")
    for info in corpora:
        if info.damage:
            messages.print(info.damage, style="red", soft_wrap=True)
            continue
        learned = {encoder: f" ({Mix(**values).sentence})" for encoder, values in _mixes(paths, info).items()}
        encoders = ", ".join(index.encoder + learned.get(index.encoder, "") for index in info.indexes) or "nothing yet"
        table.add_row(info.name, str(info.n_sources), str(info.n_documents), str(info.n_passages), encoders)
    console.print(table)


def _details(paths: DataPaths, info: CorpusInfo) -> dict[str, Any]:
    sources = Corpus.open(paths, info.name).sources()
    return {"sources": [asdict(source) for source in sources], "mixes": _mixes(paths, info)}


def _mixes(paths: DataPaths, info: CorpusInfo) -> dict[str, dict[str, Any]]:
    """What was learned about words and meaning, by encoder; those for which nothing was are not in it."""
    corpus = Corpus.open(paths, info.name)
    found = ((index.encoder, kept_mix(corpus, index.encoder)) for index in info.indexes)
    return {encoder: asdict(mix) for encoder, mix in found if mix}


def delete(
    corpus: str,
    sources: Annotated[list[str] | None, typer.Argument(metavar="SOURCE...", help="Only these.")] = None,
    data_dir: DataDir = Path("data"),
) -> None:
    """Delete CORPUS, or only some of its sources."""
    paths = open_paths(data_dir)
    if sources:
        remove_sources(paths, corpus, sources)
    else:
        delete_corpus(paths, corpus)


def export(corpus: str, file: Path, data_dir: DataDir = Path("data")) -> None:
    """Write CORPUS with its files and vectors into one FILE, which `import` reads; nothing is embedded then."""
    export_corpus(open_paths(data_dir), corpus, file)


def import_(
    file: Path,
    name: Annotated[str, typer.Option(help="What to call it; by default as it was called.")] = "",
    data_dir: DataDir = Path("data"),
) -> None:
    """Make a corpus of an exported FILE."""
    console.print(f"Corpus '{import_corpus(open_paths(data_dir), file, name)}' is there.")


def doctor(
    corpus: str,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended, embedding what lacks vectors.")
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """Name every difference between CORPUS's manifest and its files, indexes and collections; exit 1 if one is left."""
    paths = open_paths(data_dir)
    if repair:
        found, left = doctors.repair(paths, corpus, load_encoder)
    else:
        found = left = doctors.examine(paths, corpus)
    if as_json:
        print_json([asdict(finding) | {"mended": finding not in left} for finding in found])
    else:
        for finding in found:
            state = "mended: " if repair and finding not in left else ""
            console.print(f"{state}{finding.kind} ({finding.subject}): {finding.sentence}", soft_wrap=True)
        if not found:
            console.print(f"Corpus '{corpus}' is sound.")
    if left:
        hint = "" if repair else f" Mend what can be mended with: python -m indexes doctor '{corpus}' --repair"
        raise StoreError(f"{counted(len(left), 'difference')} in corpus '{corpus}'; they stand above.{hint}")
