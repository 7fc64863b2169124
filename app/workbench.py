"""What every handler of the page needs, assembled once; and what the page does by itself after it has opened."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.language_models import BaseChatModel

from app import votes
from app.demo import DEMO_CORPUS
from app.jobs.jobs import Jobs
from app.retriever import Retrievers
from distill.json_files import read_json, write_json
from distill.llm.connection import LLMConfig, connect_llm, llm_errors
from indexes.chroma import has_room
from indexes.corpus import corpora
from indexes.errors import InputError, StoreError, UserError, counted
from indexes.paths import DataPaths, is_server, write_file
from indexes.processes import child_environment, release_memory
from indexes.types import Encoder, FileOutcome

if TYPE_CHECKING:
    from indexes.ingest import Progress

_log = logging.getLogger(__name__)
_SOURCE = f"python-{'.'.join(platform.python_version_tuple()[:2])}-docstrings.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How far one piece of work is; `total` is 0 where it cannot be told."""

    message: str
    state: Literal["working", "done", "failed"] = "working"
    done: int = 0
    total: int = 0


OnStage = Callable[[Stage], None]
Work = Callable[[OnStage, Callable[[], bool]], None]
WriteCorpus = Callable[[Path], None]


class Background:
    """Pieces of work by name, each in a thread of its own, with the stage that it is at."""

    def __init__(self, works: dict[str, Work], on_stage: OnStage = lambda stage: None) -> None:
        self._works = works
        self._on_stage = on_stage
        self._stages = {name: Stage(message=name) for name in works}
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self.n_ended = 0

    def start(self) -> None:
        """Begins all of it."""
        for name, work in self._works.items():
            self.begin(name, work)

    def begin(self, name: str, work: Work, message: str = "") -> None:
        """Begins `work`, at any time; `message` is what it says until it speaks itself."""
        self._stages[name] = Stage(message=message or name)
        self._threads = [each for each in self._threads if each.is_alive()]
        thread = threading.Thread(target=self._run, args=(name, work), name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Asks all of it to end and waits a while; what is left undone is done at the next start."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout_s)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stage of each piece of work that goes on, or has failed."""
        return tuple(self._stages.values())

    @property
    def is_busy(self) -> bool:
        """Whether anything is still going on."""
        return any(stage.state == "working" for stage in self.stages)

    def _run(self, name: str, work: Work) -> None:
        try:
            work(lambda stage: self._set(name, stage), self._stopping.is_set)
        except UserError as error:
            self._set(name, Stage(message=str(error), state="failed"))
        except Exception:  # noqa: BLE001 - a thread's death would go unseen; the page and the terminal say it
            _log.exception("%s failed", name)
            self._set(name, Stage(message=f"{name} failed; the terminal shows why.", state="failed"))
        else:
            self._set(name, Stage(message=name, state="done"))
            del self._stages[name]  # uploads have no end
        self.n_ended += 1

    def _set(self, name: str, stage: Stage) -> None:
        self._stages[name] = stage
        if not self._stopping.is_set():
            self._on_stage(stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What became of files that were handed in for `corpus`; `kind` is how the sentence is meant."""

    corpus: str
    sentence: str
    kind: Literal["info", "done", "error"]
    outcomes: tuple[FileOutcome, ...] = ()


class Uploads:
    """Files on their way into corpora, one upload after the other: a folder each, which outlives page and process.

    A folder without its request is one that was not taken over whole, or is not wanted any more.
    """

    _REQUEST, _FILES = "request.json", "files"

    def __init__(self, paths: DataPaths, background: Background, new_encoder: Callable[[], Encoder]) -> None:
        self._paths = paths
        self._background = background
        self._new_encoder = new_encoder
        self._turn = threading.Lock()
        self.latest: Uploaded | None = None

    def take(self, corpus: str, files: Sequence[Path] = (), addresses: Sequence[str] = (), visitor: str = "") -> None:
        """Takes `files` of a `visitor` over and begins to add them to `corpus`, with the web pages at `addresses`.

        Without any, its indexes are brought in step.
        """
        folder = self._paths.uploads / str(time.time_ns())
        try:
            (folder / self._FILES).mkdir(parents=True)
            for file in files:
                shutil.move(file, folder / self._FILES / file.name)
            write_json(folder / self._REQUEST, {"corpus": corpus, "addresses": list(addresses), "visitor": visitor})
        except (OSError, StoreError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise StoreError(f"The files could not be taken over ({reason}). Add them again.") from None
        self._begin(folder)

    def resume(self) -> None:
        """Goes on with what a page before this one has not ended."""
        for folder in sorted(self._paths.uploads.glob("*")):
            if (folder / self._REQUEST).is_file():
                self._begin(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def stop(self, visitor: str = "") -> int:
        """How much of this `visitor` ends soon; what was read until then is kept."""
        requests = self._paths.uploads.glob(f"*/{self._REQUEST}")
        own = [request for request in requests if read_json(request).get("visitor", "") == visitor]
        for request in own:
            request.unlink(missing_ok=True)
        return len(own)

    def _begin(self, folder: Path) -> None:
        request = read_json(folder / self._REQUEST)
        corpus = str(request.get("corpus", ""))
        files: list[Path | str] = [*sorted((folder / self._FILES).iterdir()), *map(str, request.get("addresses", ()))]
        message = f"To be added to corpus '{corpus}': {counted(len(files), 'file')}"
        work = partial(self._work, folder, corpus, files)
        self._background.begin(f"Upload {folder.name} to corpus '{corpus}'", work, message)

    def _work(
        self, folder: Path, corpus: str, files: Sequence[Path | str], on_stage: OnStage, stopped: Callable[[], bool]
    ) -> None:
        found: dict[str, FileOutcome] = {}

        def is_over() -> bool:
            return stopped() or not (folder / self._REQUEST).is_file()

        with self._turn:
            try:
                for progress in self._steps_with_room(corpus, files, on_stage, is_over):
                    found |= {outcome.source: outcome for outcome in filter(None, [progress.outcome])}
                    if is_over():
                        break
                sentence, kind = _became(corpus, files, tuple(found.values()), (folder / self._REQUEST).is_file())
            except UserError as error:
                sentence, kind = str(error), "error"
            self.latest = Uploaded(corpus=corpus, sentence=sentence, kind=kind, outcomes=tuple(found.values()))
            release_memory()  # before the next one takes its own
            if not stopped():
                shutil.rmtree(folder, ignore_errors=True)

    def _steps_with_room(
        self, corpus: str, files: Sequence[Path | str], on_stage: OnStage, is_over: Callable[[], bool]
    ) -> Iterator[Progress]:
        """The steps; where the disk is full they are gone on with once there is room again."""
        while True:
            try:
                yield from self._steps(corpus, files, on_stage)
                return
            except StoreError as error:
                if has_room(self._paths):
                    raise
                why = str(error).partition(". ")[0]
            on_stage(Stage(message=f"{why}. It goes on by itself once some space is free"))
            while not has_room(self._paths):
                if is_over():
                    return
                time.sleep(1)

    def _steps(self, corpus: str, files: Sequence[Path | str], on_stage: OnStage) -> Iterator[Progress]:
        from indexes.ingest import add_files

        def wait(sentence: str) -> None:
            on_stage(Stage(message=sentence.removesuffix(" …")))

        for progress in add_files(self._paths, corpus, files, self._new_encoder(), wait_s=_PATIENCE_S, on_wait=wait):
            doing = (
                f"Reading {counted(len(files), 'file')} for" if progress.stage == "reading" else "Indexing passages of"
            )
            on_stage(Stage(message=f"{doing} corpus '{corpus}'", done=progress.done, total=progress.total))
            yield progress


_PATIENCE_S = 3600.0


def _became(
    corpus: str, files: Sequence[Path | str], outcomes: Sequence[FileOutcome], is_wanted: bool
) -> tuple[str, Literal["info", "done", "error"]]:
    if not is_wanted:
        return "Stopped. What was read is kept; add the same files again to go on.", "info"
    if not files:
        return f"Every index of corpus '{corpus}' is in step.", "done"
    n_failed = sum(outcome.status == "failed" for outcome in outcomes)
    n_read = sum(outcome.status not in ("failed", "skipped", "removed", "noted") for outcome in outcomes)
    sentence = f"{n_read} file{'s' * (n_read != 1)} of corpus '{corpus}' can be asked now."
    failed = f" {n_failed} could not be read; the table says why." if n_failed else ""
    return sentence + failed, "error" if n_failed else "done"


def prepare_corpus(
    paths: DataPaths,
    retrievers: Retrievers,
    encoder: str,
    demo: WriteCorpus | None,
    on_stage: OnStage,
    stopped: Callable[[], bool],
) -> None:
    """Loads the encoder, then indexes the demonstration corpus that `demo` writes, unless that was done before."""
    on_stage(Stage(message=f"Loading the encoder {encoder}"))
    retrievers.encoder(encoder)
    if demo and not stopped() and not _marker(paths).exists():
        _index_demo(paths, retrievers.new_encoder(encoder), demo, on_stage, stopped)
    if not stopped():
        _warm_up(paths, retrievers, encoder)


def _warm_up(paths: DataPaths, retrievers: Retrievers, encoder: str) -> None:
    """Searches once, so that the first question of a person does not wait for files to be read."""
    for corpus in corpora(paths):
        if any(index.encoder == encoder for index in corpus.indexes()):
            with suppress(UserError):  # an index that does not open says so when it is asked
                retrievers.index(corpus, encoder).search("warm up", 1)
            return


def _marker(paths: DataPaths) -> Path:
    """There once the demonstration corpus is complete, so that a deleted one does not come back."""
    return paths.root / "demo.json"


def _index_demo(
    paths: DataPaths, encoder: Encoder, write: WriteCorpus, on_stage: OnStage, stopped: Callable[[], bool]
) -> None:
    from indexes.ingest import add_files

    on_stage(Stage(message="Reading the documentation of Python's standard library"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _SOURCE
        write(file)
        for progress in add_files(paths, DEMO_CORPUS, [file], encoder):
            if stopped():
                return
            if progress.stage == "embedding":
                message = f"Indexing the demonstration corpus {DEMO_CORPUS}"
                on_stage(Stage(message=message, done=progress.done, total=progress.total))
    write_file(_marker(paths), json.dumps({"corpus": DEMO_CORPUS, "python": platform.python_version()}))


def write_docstrings(file: Path) -> None:
    """Writes the documentation of Python's standard library to `file`, read by a child process."""
    command = [sys.executable, "-m", "app.demo", str(file)]
    result = subprocess.run(  # noqa: S603
        command, cwd=Path(__file__).parent.parent, env=child_environment(), capture_output=True, text=True
    )
    if result.returncode or not file.is_file():
        last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(
            f"The documentation of the standard library could not be read ({last}), so there is no demonstration "
            "corpus. Everything else works; APP_DEMO=0 leaves it out."
        )


def fetch_weights(paths: DataPaths, local_llm: str, on_stage: OnStage, stopped: Callable[[], bool]) -> None:
    """Fetches the weights of the embedded LLM, so that the first answer does not wait for them."""
    from distill.llm.weights import ensure_weights

    def on_progress(done: int, total: int, text: str) -> None:
        on_stage(Stage(message=f"{text} (megabytes)", done=done // 10**6, total=total // 10**6))

    ensure_weights(local_llm, paths.models, on_progress)


class Reader:
    """The LLM that answers and teaches: the one that the page was started with, until another is chosen on it.

    What is chosen is known to this process alone, its key too. Of addresses only those under `endpoints` can be chosen,
    any where that is None.
    """

    def __init__(
        self,
        config: LLMConfig,
        paths: DataPaths,
        *,
        max_tokens: int | None = None,
        endpoints: Sequence[str] | None = None,
    ) -> None:
        self.first = config
        self.endpoints = endpoints
        self._options: dict[str, Any] = {"paths": paths, "max_tokens": max_tokens}
        self._use(config)

    @property
    def name(self) -> str:
        """What the page calls it."""
        return name_of(self.config)

    def connect(self, on_status: Callable[[str], None]) -> BaseChatModel:
        """The chat model, made ready if need be; what that takes is said to `on_status`."""
        if self.config.is_embedded:  # a server that died is started again
            return connect_llm(self.config, on_status=on_status, **self._options)
        return self._endpoint()

    def choose(self, kind: str, url: str = "", model: str = "", key: str = "") -> None:
        """Takes the "first" LLM, the "embedded" one, or that of an "endpoint" once it has answered.

        Raises a `UserError` where it cannot be taken, and goes on with the one from before.
        """
        config = self._endpoint_at(url.strip(), model.strip(), key.strip()) if kind == "endpoint" else self.first
        if kind == "embedded":
            config = LLMConfig(local_llm=self.first.local_llm)
        if kind == "endpoint":
            with llm_errors():
                connect_llm(config, **self._options).invoke("Reply with OK.")
        self._use(config)

    def _use(self, config: LLMConfig) -> None:
        self.config = config
        # A client of its own for each question would read every certificate and shake hands again: 40 ms and more.
        self._endpoint = cache(lambda: connect_llm(config, **self._options))

    def _endpoint_at(self, url: str, model: str, key: str) -> LLMConfig:
        if not is_server(url):
            raise InputError(
                "The address of the endpoint has to be whole and without a key in it, like http://localhost:8000/v1. "
                "The key has a field of its own."
            )
        named = self.endpoints
        if named is not None and not any(f"{url}/".startswith(f"{each.rstrip('/')}/") for each in named):
            raise InputError(
                f"This page does not ask {url}: only addresses that whoever runs it has named. There "
                f"{'are' if named else 'is none'}{': ' + ', '.join(named) if named else ''}. Ask for "
                f"APP_ENDPOINTS={url}"
            )
        return LLMConfig(
            base_url=url.rstrip("/"), api_key=key or None, model=model or None, local_llm=self.first.local_llm
        )


def name_of(llm: LLMConfig) -> str:
    """What the page calls `llm`: the model and where it is."""
    if llm.is_embedded:
        return f"{llm.local_llm}, embedded"
    host = (llm.base_url or "https://api.openai.com").split("://")[-1].rpartition("@")[2].split("/")[0]
    return f"{llm.model} at {host}" if llm.model else host


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """The data folder, the open indexes, the LLM, the teaching slot and what goes on in the background.

    `operator` is who may choose another LLM on the page: a name, "" for everybody, None for nobody.
    """

    paths: DataPaths
    encoder: str
    retrievers: Retrievers
    reader: Reader
    background: Background
    jobs: Jobs
    max_upload_mb: int = 200
    operator: str | None = None
    keeps_questions: bool = False
    has_accounts: bool = False
    uploads: Uploads = field(init=False)

    def __post_init__(self) -> None:
        uploads = Uploads(self.paths, self.background, lambda: self.retrievers.new_encoder(self.encoder))
        object.__setattr__(self, "uploads", uploads)

    @property
    def llm(self) -> LLMConfig:
        """The LLM that answers and teaches now."""
        return self.reader.config

    def keep_question(self, corpus: str, question: str) -> None:
        """Keeps a question about `corpus` where the page is told to."""
        if self.keeps_questions:
            votes.keep_question(self.paths, corpus, question)
