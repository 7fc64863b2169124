"""What is done with what a run has taught: report, search, promote, rollback, export, push."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from indexes.commands.console import console, print_found
from indexes.commands.options import DataDir, open_paths
from indexes.errors import NotFoundError
from indexes.search import RetrieverKind


def report(name: str, data_dir: DataDir = Path("data")) -> None:
    """Print the report of the finished run NAME again."""
    from distill.json_files import read_json
    from distill.verdict.report import print_report

    paths = open_paths(data_dir)
    metrics = read_json(paths.run(name) / "metrics.json")
    if not metrics:
        known = ", ".join(f"'{file.parent.name}'" for file in sorted(paths.runs.glob("*/metrics.json")))
        raise NotFoundError(
            f"There is no finished run '{name}' (there are: {known or 'none yet'}). One that was begun goes on when "
            "its command is given again."
        )
    print_report(metrics, console)


def search(
    name: str,
    question: str,
    retriever: Annotated[RetrieverKind, typer.Option(help="What finds the passages that are ranked.")] = "fused",
    k: Annotated[int, typer.Option(min=1, max=300, help="How many passages.")] = 10,
    source: Annotated[list[str] | None, typer.Option(help="Only of this source, or of these: reports/*")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """The passages that answer QUESTION best, by the ranker that run NAME has trained."""
    from distill.ranker.trained_search import open_trained
    from indexes.filters import PassageFilter

    trained = open_trained(open_paths(data_dir), name, retriever, PassageFilter(sources=tuple(source or ())))
    print_found(trained.search(question, k), as_json=as_json)


def promote(corpus: str, encoder: str, data_dir: DataDir = Path("data")) -> None:
    """Let ENCODER answer for CORPUS by default, whatever its verdict was."""
    from distill.verdict.promotion import promote as promote_encoder

    promote_encoder(open_paths(data_dir), corpus, encoder, run="")
    console.print(f"'{encoder}' now answers for corpus '{corpus}'.", markup=False)


def rollback(corpus: str, data_dir: DataDir = Path("data")) -> None:
    """Let the encoder before the last promotion answer for CORPUS again."""
    from distill.verdict.promotion import rollback as roll_back

    before = roll_back(open_paths(data_dir), corpus)
    who = f"'{before}'" if before else "The base encoder"
    console.print(f"{who} answers for '{corpus}' again.", markup=False)


def export(
    name: str,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Each side as an ONNX graph too: tokens in, vectors out.")
    ] = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """Write each side of the encoder NAME to a folder of its own, for programs that know encoders of one side only."""
    from distill.retriever.exporting import export_encoder

    for each in export_encoder(open_paths(data_dir), name, folder, onnx=onnx):
        whose = "questions" if each.side == "query" else "passages"
        readers = (
            f"only sentence-transformers 6.2 or newer reads it ({each.modules})"
            if each.modules
            else "sentence-transformers of any version and text-embeddings-inference read it"
        )
        console.print(f"{whose}: {each.folder} ({readers})", markup=False, soft_wrap=True)


def push(
    name: str,
    repository: Annotated[str, typer.Argument(help="owner/name on the model hub.")],
    data_dir: DataDir = Path("data"),
) -> None:
    """Copy the taught encoder NAME to a model hub; the token is that of HF_TOKEN."""
    from distill.retriever.publishing import push_encoder

    push_encoder(open_paths(data_dir).encoder(name), repository, os.environ.get("HF_TOKEN") or "")
    console.print(f"'{name}' is at {repository} on the hub.", markup=False)
