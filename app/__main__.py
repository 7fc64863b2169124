"""The page as a program: python -m app."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast, get_args

import typer

from app.access import Doorkeeper, PasswordHash, read_accounts, write_account
from app.jobs.jobs import Jobs
from app.retriever import Retrievers
from app.settings import Settings, check_mcp, check_port, check_writable, open_door, read_settings
from app.votes import export_votes
from app.workbench import Background, Reader, Stage, Work, Workbench, fetch_weights, prepare_corpus, write_docstrings
from distill.__main__ import app as distill_commands
from distill.llm.connection import connect_llm, embedded_server, llm_errors
from distill.llm.weights import LOCAL_MODELS
from distill.run_folder import State, run_folders
from indexes.__main__ import app as index_commands
from indexes.chroma import check_space
from indexes.commands import open_paths, run_command_line
from indexes.corpus import Corpus, corpora
from indexes.doctor import examine
from indexes.encoders.endpoint import PREFIX
from indexes.encoders.finding import language_advice
from indexes.encoders.loading import load_encoder
from indexes.errors import StoreError, UserError, counted
from indexes.observing import JsonLines, send_traces
from indexes.paths import DataPaths
from indexes.processes import share_memory

if TYPE_CHECKING:
    import gradio as gr

commands = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
commands.add_typer(index_commands, name="indexes", help="Corpora and their indexes, as python -m indexes.")
commands.add_typer(distill_commands, name="distill", help="Teaching, as python -m distill.")


@commands.callback(invoke_without_command=True)
def serve(context: typer.Context) -> None:
    """Open the page. Settings come from the environment: DATA_DIR, ENCODER, APP_HOST, APP_PORT, LOCAL_LLM,
    OPENAI_BASE_URL, OPENAI_API_KEY, LLM_MODEL, CHROMA_URL, CHROMA_TENANT, CHROMA_DATABASE, CHROMA_TOKEN.
    """
    if context.invoked_subcommand:
        return
    settings = read_settings()
    share_memory()
    read_accounts_of(settings)
    _ = settings.api_keys  # a weak one is told before anything is loaded
    watch(settings)
    check_mcp(settings)
    check_port(settings.app_host, settings.app_port)
    paths = open_paths(settings.data_dir)
    check_writable(paths)
    say("Opening the page …")
    bench = assemble(settings, paths)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: ended.set())
    page = launch(bench, settings)
    say(f"The page is open on {page.local_url} (Ctrl-C ends it)")
    if warning := open_door(settings):
        say(warning)
    bench.background.start()
    bench.uploads.resume()
    try:
        ended.wait()
    finally:
        say("Ending …")
        bench.background.stop(timeout_s=2)
        if settings.llm.is_embedded:
            embedded_server(settings.local_llm, paths.models).stop()
        page.close(verbose=False)
    leave()


def leave() -> NoReturn:
    """Ends the process with status 0, without the interpreter's own ending.

    A thread that is still inside a library's C++ (an encoder half loaded, an answer half sent) would be torn down
    there and abort the process. Whatever such a thread leaves undone is done at the next start, as after a kill.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@commands.command()
def password(name: str) -> None:
    """Print the line that lets NAME in, for APP_AUTH; the password is asked for and not shown."""
    secret = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    sys.stdout.write(write_account(name, secret) + "\n")


@commands.command()
def doctor() -> None:
    """Look after all that the page needs: settings, disk, encoder, LLM, store, each corpus; a remedy a line."""
    settings = read_settings()
    paths = open_paths(settings.data_dir)
    n_found = 0
    for what, check in _checks(settings, paths):
        try:
            found = list(check())
        except UserError as error:
            found = [str(error)]
        n_found += len(found)
        sys.stdout.write("".join(f"{what}: {each}\n" for each in found or ["sound"]))
    if n_found:
        raise StoreError(f"{counted(n_found, 'thing')} to mend; they stand above.")


def _checks(settings: Settings, paths: DataPaths) -> Iterator[tuple[str, Callable[[], Iterable[str]]]]:
    def disk() -> Iterable[str]:
        check_writable(paths)
        check_space(paths)
        return ()

    def encoder() -> Iterable[str]:
        load_encoder(settings.encoder, paths)
        return ()

    yield "settings", lambda: filter(None, [open_door(settings)])
    yield "disk", disk
    yield "encoder", encoder
    yield "LLM", lambda: _llm_findings(settings, paths)
    for corpus in corpora(paths):
        yield f"corpus '{corpus.name}'", partial(_corpus_findings, settings, paths, corpus.name)


def _llm_findings(settings: Settings, paths: DataPaths) -> Iterator[str]:
    local = LOCAL_MODELS.get(settings.local_llm)
    if not settings.llm.is_embedded:
        with llm_errors():
            connect_llm(settings.llm, paths).invoke("Reply with OK.")
    elif local and not (paths.models / local.file_name).is_file():
        yield f"its weights ({local.n_bytes / 1e9:.1f} GB) are not here yet. The page fetches them when it starts."


def _corpus_findings(settings: Settings, paths: DataPaths, corpus: str) -> Iterator[str]:
    remedy = f"Mend it with: python -m indexes doctor '{corpus}' --repair"
    for each in examine(paths, corpus):
        yield f"{each.kind} ({each.subject}): {each.sentence} {remedy}"
    if advice := language_advice(settings.encoder, Corpus.open(paths, corpus).info().language):
        yield advice


@commands.command()
def votes(
    corpus: Annotated[str, typer.Argument(help="The corpus that was voted on.")],
    questions: Annotated[Path, typer.Option(help="Where the questions go, for distill run --questions.")],
    rankings: Annotated[Path, typer.Option(help="Where the orders go, for distill run --rankings.")],
) -> None:
    """Write what visitors' votes and thumbs on a corpus teach, for the next distillation."""
    n_questions, n_rankings = export_votes(open_paths(read_settings().data_dir), corpus, questions, rankings)
    say(f"{n_rankings} orders of {n_questions} questions were written to {rankings} and {questions}.")


def assemble(settings: Settings, paths: DataPaths) -> Workbench:
    """Everything that the page needs; nothing is loaded or started yet."""
    retrievers = Retrievers(paths, settings.encoder, load_encoder)
    works: dict[str, Work] = {
        "Preparing the corpora": partial(
            prepare_corpus, paths, retrievers, settings.encoder, write_docstrings if settings.app_demo else None
        )
    }
    if settings.llm.is_embedded:
        works["Fetching the embedded LLM"] = partial(fetch_weights, paths, settings.local_llm)
    reader = Reader(settings.llm, paths, max_tokens=settings.app_answer_tokens, endpoints=settings.endpoints)
    return Workbench(
        paths=paths,
        encoder=settings.encoder,
        retrievers=retrievers,
        reader=reader,
        operator=None if reader.endpoints == () else next(iter(read_accounts_of(settings)), settings.operator),
        jobs=Jobs(paths, paths.embeddings.environment if settings.encoder.startswith(PREFIX) else {}),
        background=Background(works, StageLines()),
        max_upload_mb=settings.app_max_upload_mb,
        keeps_questions=settings.app_log_questions,
        has_accounts=settings.app_auth is not None,
    )


def launch(bench: Workbench, settings: Settings) -> gr.Blocks:
    """The page, open on its port."""
    # gradio asks its own address whether it is up; a proxy would answer for it
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1", settings.app_host]))

    from starlette.middleware import Middleware

    from app.access import OwnSiteOnly, Sessions, Status, own_names
    from app.openai_api import OpenAIDoor
    from app.ui.page import STYLE_SHEET, QuickSessions, build_app, build_theme

    page = build_app(bench)
    names = own_names(settings.app_host, settings.app_root_path, settings.app_hosts)
    accounts = read_accounts_of(settings)
    watched = Middleware(Status, gauges=partial(gauges_of, bench.paths), is_open=not accounts)
    middleware = [Middleware(OwnSiteOnly, names=names), watched]
    if settings.api_keys:
        middleware.append(Middleware(OpenAIDoor, bench=bench, keys=settings.api_keys))
    page.launch(
        auth=cast(Any, Doorkeeper(accounts).lets_in) if accounts else None,  # gradio awaits it, but does not say so
        root_path=settings.app_root_path or None,
        server_name=settings.app_host,
        server_port=settings.app_port,
        prevent_thread_lock=True,
        app_kwargs={"middleware": middleware},
        max_file_size=settings.app_max_upload_mb * 1024 * 1024,
        theme=build_theme(),
        css_paths=[STYLE_SHEET],
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        share=False,
        ssr_mode=False,
        state_session_capacity=_MOST_VISITS,
        pwa=False,
        mcp_server=settings.app_mcp,
        quiet=True,
    )
    page.app.tokens = Sessions()
    sessions = QuickSessions(page)
    sessions.session_data.update(page.app.state_holder.session_data)  # of who came before this line
    page.app.state_holder = page.state_holder = sessions
    return page


def gauges_of(paths: DataPaths) -> dict[str, float]:
    """What is counted on disk: runs by their state, and what they have spent on LLMs."""
    found = list(run_folders(paths))
    states = Counter(folder.state for folder, _ in found)
    spent = [folder.progress.spend for folder, _ in found]
    figures = {f'rag_jobs{{state="{state}"}}': float(states[state]) for state in get_args(State)}
    named = ("calls", "prompt_tokens", "reply_tokens", "cost_usd")
    return figures | {f"rag_teaching_{name}": sum(getattr(each, name) or 0 for each in spent) for name in named}


def read_accounts_of(settings: Settings) -> dict[str, PasswordHash]:
    """Who may use the page; everyone who reaches it where nobody is named."""
    text = settings.app_auth.get_secret_value().strip() if settings.app_auth else ""
    return read_accounts(text) if text else {}


_MOST_VISITS = 1000  # whose states are remembered; each takes a few hundred kilobytes


class StageLines:
    """Says the stages of the background work in the terminal: each new message, and every tenth of the way."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}

    def __call__(self, stage: Stage) -> None:
        tenths = 10 * stage.done // stage.total if stage.total else 0
        if self._said.get(stage.message, -1) >= tenths:
            return
        self._said[stage.message] = tenths
        mark = {"working": "…", "done": "is done.", "failed": ""}[stage.state]
        count = f" {stage.done:,} of {stage.total:,}" if stage.total else ""
        say(f"{stage.message}{count} {mark}".rstrip())


def say(line: str) -> None:
    """Writes a line to stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def keep_quiet() -> None:
    """Only errors of libraries come to the terminal, even of those that set a level of their own, as bm25s does."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.ERROR)


def watch(settings: Settings) -> None:
    """Begins the log of steps and the traces, each where it is asked for."""
    if settings.app_log_json:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
            handler.setLevel(logging.INFO)
        logging.getLogger("intermediate_distillation").setLevel(logging.INFO)
    if settings.otel_exporter_otlp_endpoint or settings.otel_exporter_otlp_traces_endpoint:
        send_traces()


def main() -> None:
    """Runs the command: a `UserError` becomes its sentence on stderr and exit status 1."""
    keep_quiet()
    run_command_line(commands)


if __name__ == "__main__":
    main()
