"""What changes corpora, lists them and keeps them sound: add, list, delete, doctor."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from indexes.commands.console import console, messages, print_json
from indexes.commands.options import AsJson, DataDir, EncoderName, open_paths
from indexes.corpus import list_corpora
from indexes.encoder_files import DEFAULT_ENCODER
from indexes.encoders import load_encoder
from indexes.errors import InputError, StoreError
from indexes.mixes import Mix, kept_mix
from indexes.precision import Wish
from indexes.progress import ProgressBars

if TYPE_CHECKING:
    from indexes.doctor import Finding
    from indexes.embedding import Embed
    from indexes.paths import DataPaths
    from indexes.records import CorpusInfo


def add(
    corpus: str,
    files: Annotated[list[Path] | None, typer.Argument(metavar="PATH...", help="Files and folders.")] = None,
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
    data_dir: DataDir = Path("data"),
) -> None:
    """Read files into CORPUS and index them; without PATH, bring the encoder's index up to date.

    A file is known by its content: an unchanged one costs nothing, a copy is indexed once, and a renamed one keeps its
    vectors. An interrupted add goes on where it was.
    """
    from indexes.ingest import add_files
    from indexes.late_encoder import load_late

    if sync and not files:
        raise typer.BadParameter("--sync needs PATH: the corpus will have exactly its files")
    paths = open_paths(data_dir)
    embed = _ray_engine(encoder, paths, workers) if engine == "ray" else None
    n_failed = 0
    with ProgressBars(messages) as bars:
        loaded = load_late(encoder, paths, precision, bars.say)
        for event in add_files(
            paths, corpus, files or [], loaded, sync=sync, wait_s=wait, on_wait=bars.say, embed=embed
        ):
            if event.outcome:
                outcome = event.outcome
                n_failed += outcome.status == "failed"
                counts = (
                    f"{outcome.n_documents} documents, {outcome.n_passages} passages" if outcome.n_documents else ""
                )
                bars.say(f"{outcome.source}: " + ", ".join(filter(None, (outcome.status, counts, outcome.reason))))
            bars.show(event.stage, event.done, event.total)
    if n_failed:
        raise InputError(f"{n_failed} file(s) could not be read; the reasons stand above. The others are indexed.")


def _ray_engine(encoder: str, paths: DataPaths, n_workers: int | None) -> Embed:
    """What embeds on a Ray cluster; Ray reports no usage statistics unless RAY_USAGE_STATS_ENABLED says so."""
    from indexes.ray_engine import RayEngine

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    there = replace(paths, root=paths.root.resolve())  # workers have other working folders
    return RayEngine(load=partial(load_encoder, encoder, there), n_workers=n_workers)


def list_(as_json: AsJson = False, data_dir: DataDir = Path("data")) -> None:
    """The corpora and their indexes."""
    from indexes.corpus import Corpus

    paths = open_paths(data_dir)
    corpora = list_corpora(paths)
    if as_json:
        sources = {
            info.name: [asdict(source) for source in Corpus.open(paths, info.name).sources()] for info in corpora
        }
        print_json([asdict(info) | {"sources": sources[info.name], "mixes": _mixes(paths, info)} for info in corpora])
        return
    if not corpora:
        console.print("There is no corpus yet. Make one with: python -m indexes add NAME PATH...")
        return
    table = Table("corpus", "sources", "documents", "passages", "indexed by")
    for info in corpora:
        learned = {encoder: f" ({Mix(**values).sentence})" for encoder, values in _mixes(paths, info).items()}
        encoders = ", ".join(index.encoder + learned.get(index.encoder, "") for index in info.indexes) or "nothing yet"
        table.add_row(info.name, str(info.n_sources), str(info.n_documents), str(info.n_passages), encoders)
    console.print(table)


def _mixes(paths: DataPaths, info: CorpusInfo) -> dict[str, dict[str, Any]]:
    """What was learned about words and meaning, by encoder; those for which nothing was are not in it."""
    folder = paths.corpus(info.name)
    found = ((index.encoder, kept_mix(folder, index.encoder)) for index in info.indexes)
    return {encoder: asdict(mix) for encoder, mix in found if mix}


def delete(
    corpus: str,
    sources: Annotated[list[str] | None, typer.Argument(metavar="SOURCE...", help="Only these.")] = None,
    data_dir: DataDir = Path("data"),
) -> None:
    """Delete CORPUS, or only some of its sources."""
    from indexes.ingest import delete_corpus, remove_sources

    paths = open_paths(data_dir)
    if sources:
        remove_sources(paths, corpus, sources)
    else:
        delete_corpus(paths, corpus)


def doctor(
    corpus: str,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended, embedding what lacks vectors.")
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """Name every difference between CORPUS's manifest and its files, indexes and collections; exit 1 if one is left."""
    from indexes.doctor import examine
    from indexes.mending import repair as mend

    paths = open_paths(data_dir)
    found, left = mend(paths, corpus, load_encoder) if repair else _twice(examine(paths, corpus))
    if as_json:
        print_json([asdict(finding) | {"mended": finding not in left} for finding in found])
    else:
        for finding in found:
            state = "mended: " if repair and finding not in left else ""
            console.print(
                f"{state}{finding.kind} ({finding.subject}): {finding.sentence}", markup=False, soft_wrap=True
            )
        if not found:
            console.print(f"Corpus '{corpus}' is sound.", markup=False)
    if left:
        hint = "" if repair else f" Mend what can be mended with: python -m indexes doctor '{corpus}' --repair"
        raise StoreError(f"{len(left)} difference(s) in corpus '{corpus}'; they stand above.{hint}")


def _twice(found: list[Finding]) -> tuple[list[Finding], list[Finding]]:
    return found, found
