"""What teaches: run, and import-batch, which brings a waiting run its replies."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.commands.llm import connector, llm_config, make_meter
from distill.llm.connection import LLMConfig
from indexes.commands.console import console, messages
from indexes.commands.options import DataDir, open_paths
from indexes.encoder_files import DEFAULT_ENCODER
from indexes.errors import InputError
from indexes.paths import DataPaths
from indexes.progress import ProgressBars

if TYPE_CHECKING:
    from distill.config_file import Asking
    from distill.run import RunConfig


def run(
    corpus: Annotated[str, typer.Argument(help="The corpus; --config can name it too.")] = "",
    config: Annotated[
        Path | None, typer.Option(help="A file of settings, JSON or TOML: all that README names. Options come first.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The new encoder's name; the run's too.")] = None,
    questions: Annotated[Path | None, typer.Option(help="questions.jsonl[.gz]; split 'train' trains.")] = None,
    write_questions: Annotated[int | None, typer.Option(min=1, help="Have the LLM write so many questions.")] = None,
    like: Annotated[
        Path | None, typer.Option(help="3 to 20 real questions that show the writer how people ask.")
    ] = None,
    teacher: Annotated[str | None, typer.Option(help="'none': no LLM, what every LLM has to beat.")] = None,
    rankings: Annotated[Path | None, typer.Option(help="Orders made elsewhere, in place of the LLM's.")] = None,
    n_candidates: Annotated[
        int | None, typer.Option(min=2, max=100, help="Passages the LLM ranks per question (10).")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=5, help="2: the taught retriever finds again, the LLM ranks what is new.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="auto, or paper: Intermediate Distillation as published.")] = None,
    train: Annotated[
        str | None, typer.Option(help="both (the whole encoder), or query: minutes, and passages may keep vectors.")
    ] = None,
    control: Annotated[
        bool | None, typer.Option("--control/--no-control", help="Train NAME-free beside it, which learns no order.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Stop before this is passed: '2.50 usd', '200000 tokens'.")] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="Write requests to files for a provider's batch service; see import-batch.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print calls, tokens, cost and time.")] = False,
    until: Annotated[str, typer.Option(help="Stop after this stage; the same command goes on later.")] = "verdict",
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    progress: Annotated[
        Path | None, typer.Option(help="A file that always says where the run is, for programs that watch it.")
    ] = None,
    base: Annotated[str | None, typer.Option(envvar="ENCODER", hidden=True)] = None,
    data_dir: DataDir = Path("data"),
) -> None:
    """Teach a retriever for CORPUS: questions → candidates → teacher's orders → ranker → retriever → verdict.

    The LLM is the endpoint of OPENAI_BASE_URL / OPENAI_API_KEY (model: LLM_MODEL), or the embedded one (LOCAL_LLM).
    A run that was stopped goes on when the same command is given again.
    """
    from distill.config_file import read_settings

    given = {
        "corpus": corpus or None,
        "name": name,
        "questions": _resolved(questions),
        "n_written": write_questions,
        "like": _resolved(like),
        "teacher": teacher,
        "rankings": _resolved(rankings),
        "n_candidates": n_candidates,
        "rounds": rounds,
        "recipe": recipe,
        "train": train,
        "control": control,
        "budget": budget,
        "progress": _resolved(progress),
    }
    llm = llm_config()
    settings, asking = read_settings(config, given)
    settings = _completed(settings, llm, base)
    paths = open_paths(data_dir)
    if dry_run:
        _print_estimate(settings, llm, paths)
        return
    metrics = _distil(settings, asking, llm, paths, batch=batch, until=until)
    if as_json:
        sys.stdout.write(json.dumps(metrics, ensure_ascii=False, indent=2) + "\n")
    elif metrics:
        from distill.verdict.report import print_report

        print_report(metrics, console)
        place = paths.encoder(settings.name)
        console.print(f"The encoder is in {place}; the page offers it at once.", markup=False, soft_wrap=True)


def _completed(settings: RunConfig, llm: LLMConfig, base: str | None) -> RunConfig:
    """`settings` with the encoder and the teacher of the environment; `InputError` for ones that cannot go together."""
    from distill.run import FROM_FILE, WITHOUT_LLM
    from distill.teacher.modes import parse_mode

    if settings.mode != "auto":
        parse_mode(settings.mode)
    if bool(settings.questions) == bool(settings.n_written):
        raise InputError("Questions come from one place: give either --questions FILE or --write-questions N.")
    if settings.teacher == WITHOUT_LLM and settings.rankings:
        raise InputError("--teacher none and --rankings exclude each other: the one says that nobody has ordered.")
    teacher = FROM_FILE if settings.rankings else settings.teacher or llm.name
    if teacher not in (FROM_FILE, WITHOUT_LLM, llm.name):
        raise InputError(
            f"The teacher is to be '{teacher}', and the LLM of the environment is '{llm.name}'. --teacher takes "
            "'none'; an LLM is named by LLM_MODEL, with OPENAI_BASE_URL and OPENAI_API_KEY, or by LOCAL_LLM."
        )
    if settings.recipe == "paper" and settings.train == "query":
        raise InputError("--recipe paper trains both sides; leave out --train query.")
    if settings.recipe == "paper" and teacher == WITHOUT_LLM and not settings.votes:
        raise InputError("--recipe paper learns from orders alone, and with --teacher none there are none.")
    return replace(settings, teacher=teacher, base=settings.base or base or DEFAULT_ENCODER)


def _distil(
    settings: RunConfig, asking: Asking, llm: LLMConfig, paths: DataPaths, *, batch: bool, until: str
) -> dict[str, Any]:
    from distill.pipeline import run_distillation
    from distill.progress_file import ProgressFile
    from distill.run import STAGES, Event

    if until not in STAGES:
        raise typer.BadParameter(f"--until takes one of {', '.join(STAGES)}; got '{until}'")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it gently, by hand or not: all is kept
    meter = make_meter(llm, paths, asking.budget, asking.reply_tokens)
    watched = ProgressFile(Path(asking.progress), meter.summary) if asking.progress else None
    with ProgressBars(messages) as bars, watched or nullcontext():

        def report(event: Event) -> None:
            if event.remark and not event.total:
                bars.say(event.remark)
            bars.show(event.remark or event.stage, event.done, event.total)
            if watched:
                watched(event)

        def say(text: str) -> None:
            bars.say(text)
            if watched:
                watched.say(text)

        batch_file = paths.run(settings.name) / "batch.jsonl" if batch else None
        connect = connector(llm, paths, say, asking.concurrency, meter, asking.reply_tokens, batch_file)
        return run_distillation(paths, settings, connect, report, until=until, report_to=asking.report_to)


def _print_estimate(config: RunConfig, llm: LLMConfig, paths: DataPaths) -> None:
    from distill.estimating import estimate, price_of

    found = estimate(paths, config, price_of(llm, paths), is_embedded=llm.is_embedded)
    cost = "at a price that is not known" if found.cost is None else f"for about {found.cost:.2f} US dollars"
    time = "" if found.seconds is None else f", in about {found.seconds / 60:.0f} minutes on two cores"
    console.print(
        f"About {found.calls:,} calls of the LLM would read {found.prompt_tokens:,} tokens and write "
        f"{found.reply_tokens:,}, {cost}{time}. Nothing was asked.",
        markup=False,
        soft_wrap=True,
    )


def _resolved(file: Path | None) -> str | None:
    return str(file.resolve()) if file else None


def import_batch(file: Path, data_dir: DataDir = Path("data")) -> None:
    """Take the replies in FILE, a batch service's output, so that the run that asked for them goes on."""
    from distill.llm.batch_files import import_batch as take
    from distill.llm.reply_cache import ReplyCache

    taken = take(file, ReplyCache(open_paths(data_dir).llm_cache))
    console.print(taken.sentence, markup=False, soft_wrap=True)
