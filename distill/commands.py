"""The commands of `python -m distill`: run, list, delete, import-batch, report, search, promote, rollback, export…"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distill.llm.connection import LLMConfig
from indexes.commands import AsJson, DataDir, ProgressBars, console, messages, open_paths, print_found, print_json
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.errors import InputError, LLMUnavailableError, NotFoundError
from indexes.paths import DataPaths
from indexes.retrievers import RetrieverKind

if TYPE_CHECKING:
    from distill.llm.calls import Asker
    from distill.llm.spending import Meter
    from distill.run_config import Asking, RunConfig
    from distill.verdict.report import Metrics


def llm_config() -> LLMConfig:
    """The LLM that the environment names."""
    return LLMConfig(
        base_url=os.environ.get("OPENAI_BASE_URL") or None,
        api_key=os.environ.get("OPENAI_API_KEY") or None,
        model=os.environ.get("LLM_MODEL") or None,
        local_llm=os.environ.get("LOCAL_LLM") or "qwen-1.5b",
    )


def connect(
    llm: LLMConfig,
    paths: DataPaths,
    say: Callable[[str], None],
    asking: Asking,
    meter: Meter,
    batch_file: Path | None,
    temperature: float,
) -> Asker:
    """The LLM at this temperature; with `batch_file`, requests are written there and nothing is sent."""
    from distill.llm.calls import Asker, Postponement, no_provider
    from distill.llm.connection import PATIENT_RETRIES, connect_llm
    from distill.llm.reply_cache import ReplyCache

    if batch_file and llm.is_embedded:
        raise no_provider()  # before a model is fetched and started for nothing
    try:
        model = connect_llm(
            llm,
            paths,
            on_status=say,
            temperature=temperature,
            max_tokens=asking.reply_tokens,
            max_retries=PATIENT_RETRIES,
        )
    except LLMUnavailableError as error:
        if not batch_file:
            raise
        raise InputError(
            f"The requests of a batch name their model, and the endpoint could not be asked for one ({error}). Set "
            "LLM_MODEL to it; then no connection is needed."
        ) from error
    cache = ReplyCache(paths.llm_cache, say)
    n_at_once = asking.concurrency or (1 if llm.is_embedded else 8)
    later = Postponement(model, batch_file) if batch_file else None
    asker = Asker(model, concurrency=n_at_once, cache=cache, meter=meter, postponement=later, say=say)
    if not batch_file:
        asker.check()
    return asker


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
        bool, typer.Option("--batch", help="Write requests to a file for a provider's batch service; see import-batch.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print calls, tokens, cost and time.")] = False,
    until: Annotated[str, typer.Option(help="Stop after this stage; the same command goes on later.")] = "verdict",
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics as JSON.")] = False,
    base: Annotated[str | None, typer.Option(envvar="ENCODER", hidden=True)] = None,
    data_dir: DataDir = Path("data"),
) -> None:
    """Teach a retriever for CORPUS: questions → candidates → teacher's orders → ranker → retriever → verdict.

    The LLM is the endpoint of OPENAI_BASE_URL / OPENAI_API_KEY (model: LLM_MODEL), or the embedded one (LOCAL_LLM).
    A run that was stopped goes on when the same command is given again. Its progress.json always says where it is.
    """
    from distill.run_config import read_settings

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
        print_json(asdict(metrics) if metrics else {})
    elif metrics:
        from distill.verdict.report import print_report

        print_report(metrics, console)
        place = paths.encoder(settings.name)
        console.print(f"The encoder is in {place}; the page offers it at once.", soft_wrap=True)


def _completed(settings: RunConfig, llm: LLMConfig, base: str | None) -> RunConfig:
    """`settings` with the encoder and the teacher of the environment; `InputError` for ones that cannot go together."""
    from distill.run_config import FROM_FILE, WITHOUT_LLM
    from distill.teacher.asking import n_shuffles

    n_shuffles(settings.mode)
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
) -> Metrics | None:
    from distill.llm.spending import Meter, parse_budget
    from distill.pipeline import price_of, run_distillation
    from distill.run import Event, ProgressFile
    from distill.run_config import STAGES
    from distill.run_folder import PROGRESS, SPEND

    if until not in STAGES:
        raise typer.BadParameter(f"--until takes one of {', '.join(STAGES)}; got '{until}'")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it gently, by hand or not: all is kept
    folder = paths.run(settings.name)
    meter = Meter(
        budget=parse_budget(asking.budget),
        price=price_of(llm, paths),
        max_reply_tokens=asking.reply_tokens,
        file=folder / SPEND,
    )
    with ProgressBars(messages) as bars, ProgressFile(folder / PROGRESS, meter.summary) as watched:

        def report(event: Event) -> None:
            if event.remark and not event.total:
                bars.say(event.remark)
            bars.show(event.remark or event.stage, event.done, event.total)
            watched(event)

        def say(text: str) -> None:
            bars.say(text)
            watched.say(text)

        batch_file = folder / "batch.jsonl" if batch else None
        connecting = partial(connect, llm, paths, say, asking, meter, batch_file)
        try:
            return run_distillation(paths, settings, connecting, report, until=until, report_to=asking.report_to)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(watched.place) from None


def _print_estimate(config: RunConfig, llm: LLMConfig, paths: DataPaths) -> None:
    from distill.pipeline import estimate, price_of
    from indexes.corpus import Corpus

    n_characters = Corpus.open(paths, config.corpus).size()[1]
    found = estimate(config, price_of(llm, paths), n_characters=n_characters, is_embedded=llm.is_embedded)
    cost = "at a price that is not known" if found.cost is None else f"for about {found.cost:.2f} US dollars"
    time = "" if found.seconds is None else f", in about {found.seconds / 60:.0f} minutes on two cores"
    console.print(
        f"About {found.calls:,} calls of the LLM would read {found.prompt_tokens:,} tokens and write "
        f"{found.reply_tokens:,}, {cost}{time}. Nothing was asked.",
        soft_wrap=True,
    )


def _resolved(file: Path | None) -> str | None:
    return str(file.resolve()) if file else None


def import_batch(file: Path, data_dir: DataDir = Path("data")) -> None:
    """Take the replies in FILE, a batch service's output, so that the run that asked for them goes on."""
    from distill.llm.reply_cache import ReplyCache
    from distill.llm.reply_cache import import_batch as take

    console.print(take(file, ReplyCache(open_paths(data_dir).llm_cache)), soft_wrap=True)


def report(name: str, data_dir: DataDir = Path("data")) -> None:
    """Print the report of the finished run NAME again."""
    from distill.run_folder import RunFolder, list_runs
    from distill.verdict.report import print_report

    paths = open_paths(data_dir)
    metrics = RunFolder(paths.run(name)).metrics
    if metrics is None:
        known = ", ".join(f"'{each.name}'" for each in list_runs(paths) if each.state == "done")
        raise NotFoundError(
            f"There is no finished run '{name}' (there are: {known or 'none yet'}). One that was begun goes on when "
            "its command is given again."
        )
    print_report(metrics, console)


def list_(
    corpus: Annotated[str, typer.Argument(help="Only the runs on this corpus.")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """List the runs: those that go on first, then the newest, each with its state, its teacher and its verdict."""
    from distill.run_folder import list_runs

    runs = list_runs(open_paths(data_dir), corpus)
    if as_json:
        print_json([asdict(each) for each in runs])
        return
    for each in runs:
        now = " (answers now)" if each.answers_now else ""
        line = f"{each.name}{now} · corpus {each.corpus} · {each.state} · teacher {each.teacher or 'not known'}"
        console.print(f"{line} · {each.sentence}" if each.sentence else line, soft_wrap=True)
    if not runs:
        console.print("There is no run yet. Begin one with: python -m distill run CORPUS --name NAME")


def delete(
    name: str,
    force: Annotated[bool, typer.Option("--force", help="Also if it is going on, or its encoder answers now.")] = False,
    data_dir: DataDir = Path("data"),
) -> None:
    """Delete the run NAME with its encoders and the indexes by them; what the LLM has replied is kept."""
    from distill.run_folder import delete_run

    try:
        n_bytes = delete_run(open_paths(data_dir), name, ends=force, demotes=force)
    except InputError as error:
        raise InputError(f"{error} With --force it is deleted all the same.") from None
    console.print(f"Run '{name}' is deleted; {n_bytes / 1e6:,.1f} MB of files are free again.")


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
    from distill.ranker.rerank import open_taught
    from indexes.filters import PassageFilter

    taught = open_taught(open_paths(data_dir), name, retriever)
    print_found(taught.search(question, k, PassageFilter(sources=tuple(source or ()))), as_json=as_json)


def promote(corpus: str, encoder: str, data_dir: DataDir = Path("data")) -> None:
    """Let ENCODER answer for CORPUS by default, whatever its verdict was."""
    from distill.verdict.promotion import promote as promote_encoder

    promote_encoder(open_paths(data_dir), corpus, encoder, run="")
    console.print(f"'{encoder}' now answers for corpus '{corpus}'.")


def rollback(corpus: str, data_dir: DataDir = Path("data")) -> None:
    """Let the encoder before the last promotion answer for CORPUS again."""
    from distill.verdict.promotion import rollback as roll_back

    before = roll_back(open_paths(data_dir), corpus)
    who = f"'{before}'" if before else "The base encoder"
    console.print(f"{who} answers for '{corpus}' again.")


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
        console.print(f"{whose}: {each.folder} ({readers})", soft_wrap=True)


def push(
    name: str,
    repository: Annotated[str, typer.Argument(help="owner/name on the model hub.")],
    data_dir: DataDir = Path("data"),
) -> None:
    """Copy the taught encoder NAME to a model hub; the token is that of HF_TOKEN."""
    from distill.retriever.publishing import push_encoder

    push_encoder(open_paths(data_dir).encoder(name), repository, os.environ.get("HF_TOKEN") or "")
    console.print(f"'{name}' is at {repository} on the hub.")
