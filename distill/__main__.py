"""The command line of teaching: python -m distill run."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from distill.llm import LLMConfig
from indexes.__main__ import messages
from indexes.__main__ import run as run_command_line
from indexes.encoders import DEFAULT_ENCODER
from indexes.paths import DataPaths
from indexes.progress import ProgressBars

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console(highlight=False)

_MAX_REPLY_TOKENS = 400
_SUSPICIOUS_SHARE = 0.5  # passages are shuffled, so each place of the prompt should win about equally often


@app.callback()
def _commands() -> None:
    """Keeps `run` a command of its own, as there will be others beside it."""


@app.command()
def run(
    corpus: str,
    name: Annotated[str, typer.Option(help="The new encoder's name; the run's too.")],
    questions: Annotated[Path | None, typer.Option(help="questions.jsonl[.gz]; split 'train' trains.")] = None,
    write_questions: Annotated[int, typer.Option(min=0, help="Have the LLM write so many questions.")] = 0,
    n_candidates: Annotated[int, typer.Option(min=2, max=20, help="Passages the LLM ranks per question.")] = 10,
    limit: Annotated[int, typer.Option(min=0, help="At most so many training questions (0: all).")] = 0,
    base: Annotated[str, typer.Option(envvar="ENCODER", help="The encoder to teach.")] = DEFAULT_ENCODER,
    concurrency: Annotated[int, typer.Option(min=0, max=256, help="LLM requests at a time (0: 8, embedded: 1).")] = 0,
    until: Annotated[str, typer.Option(help="Stop after this stage; the same command goes on later.")] = "verdict",
    seed: Annotated[int, typer.Option(help="Of sampling, shuffling and training.")] = 13,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    data_dir: Annotated[Path, typer.Option(envvar="DATA_DIR", help="Where everything is kept.")] = Path("data"),
) -> None:
    """Teach a retriever for CORPUS: questions → candidates → LLM rankings → ranker → retriever → verdict.

    The LLM is the endpoint of OPENAI_BASE_URL / OPENAI_API_KEY (model: LLM_MODEL), or the embedded one (LOCAL_LLM).
    A run that was stopped goes on when the same command is given again.
    """
    from distill.pipeline import run_distillation
    from distill.run import STAGES, Event, RunConfig

    if bool(questions) == bool(write_questions):
        raise typer.BadParameter("give either --questions FILE or --write-questions N")
    if until not in STAGES:
        raise typer.BadParameter(f"--until takes one of {', '.join(STAGES)}; got '{until}'")
    llm = llm_config()
    config = RunConfig(
        name=name,
        corpus=corpus,
        base=base,
        questions=str(questions.resolve()) if questions else "",
        n_written=write_questions,
        n_candidates=n_candidates,
        limit=limit,
        seed=seed,
        teacher=llm.local_llm if llm.is_embedded else (llm.model or llm.base_url or "the endpoint's default model"),
    )
    paths = DataPaths(data_dir)
    with ProgressBars(messages) as bars:
        connect = _connector(llm, paths, bars)

        def report(event: Event) -> None:
            bars.show(event.remark or event.stage, event.done, event.total)

        metrics = run_distillation(
            paths, config, connect, report, until=until, concurrency=concurrency or (1 if llm.is_embedded else 8)
        )
    if as_json:
        sys.stdout.write(json.dumps(metrics, ensure_ascii=False, indent=2) + "\n")
    elif metrics:
        _print_verdict(metrics, config.name, paths)


def llm_config() -> LLMConfig:
    """The LLM that the environment names."""
    return LLMConfig(
        base_url=os.environ.get("OPENAI_BASE_URL") or None,
        api_key=os.environ.get("OPENAI_API_KEY") or None,
        model=os.environ.get("LLM_MODEL") or None,
        local_llm=os.environ.get("LOCAL_LLM") or "qwen-1.5b",
    )


def _connector(config: LLMConfig, paths: DataPaths, bars: ProgressBars) -> Any:
    def connect() -> Any:
        from distill.llm import check_llm, connect_llm

        llm = connect_llm(config, paths, on_status=bars.say, max_tokens=_MAX_REPLY_TOKENS)
        check_llm(llm)
        return llm

    return connect


def _print_verdict(metrics: dict[str, Any], name: str, paths: DataPaths) -> None:
    teacher, ranker = metrics["teacher"], metrics["ranker"]
    console.print(f"Teacher: {teacher['malformed']:.1%} of its replies were not in the form asked for.")
    shares = teacher["best_shown_at"]
    place = max(range(len(shares)), key=shares.__getitem__, default=0)
    if shares and shares[place] > _SUSPICIOUS_SHARE:
        console.print(
            f"In {shares[place]:.0%} of its orders the passage shown at place {place + 1} of {len(shares)} came first: "
            "this LLM looks at the place more than at the text. Another one would teach more."
        )
    console.print(
        f"Ranker: agreement with the teacher (Kendall τ, {ranker['n_held_out']} orders it never saw) "
        f"{ranker['agreement_untrained']:.3f} untrained, {ranker['agreement_trained']:.3f} trained; "
        f"the {ranker['kept']} one was used."
    )
    if metrics["retrievers"]:
        table = Table(f"{metrics['questions']} held-out questions, {metrics['held_out']}", *metrics["retrievers"])
        for metric in next(iter(metrics["retrievers"].values())):
            table.add_row(metric, *(f"{values[metric]:.3f}" for values in metrics["retrievers"].values()))
        console.print(table)
        for sentence in metrics["verdict"]:
            console.print(sentence, markup=False, soft_wrap=True)
    else:
        console.print("No held-out question has positives, so nothing could be measured.")
    console.print(f"The encoder is in {paths.encoder(name)}; the page offers it at once.", markup=False, soft_wrap=True)


if __name__ == "__main__":
    run_command_line(app)
