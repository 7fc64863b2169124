"""The embedded LLM: served by llama.cpp in a child process that dies with us."""

from __future__ import annotations

import json
import os
import queue
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from distill.llm.weights import LOCAL_MODELS, Progress, ensure_weights
from indexes.errors import LLMUnavailableError, WeightsError

EMBEDDED_HEADER = "X-Embedded-LLM"  # what requests to the embedded LLM carry, so that their errors name it


def is_embedded(llm: Any) -> bool:
    """Whether a chat model is the embedded one."""
    return EMBEDDED_HEADER in (getattr(llm, "default_headers", None) or {})


def _ignore_status(text: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a running server listens; the key keeps other users of the machine and web pages out."""

    base_url: str
    model: str
    api_key: str


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[str]
    address: ServerAddress


class LocalServer:
    """The embedded LLM server, started when its address is first asked for and stopped with its owner.

    The model runs in a child process: llama.cpp cannot take this process down with it, and a child that lost its
    parent, however it died, ends itself. `n_ctx` is the context of each of `n_parallel` requests served at once, in
    tokens; `n_threads` defaults to all cores of this process.
    """

    def __init__(
        self,
        model: str,
        models_dir: Path,
        *,
        n_ctx: int = 8192,
        n_parallel: int = 2,
        n_threads: int | None = None,
        start_timeout_s: float = 300.0,
        fetch: Callable[[str, Path, Progress], Path] = ensure_weights,
    ) -> None:
        self.model = model if model in LOCAL_MODELS else Path(model).name
        self._model = model
        self._models_dir = models_dir
        self._options = {"n_ctx": n_ctx * n_parallel, "n_parallel": n_parallel, "n_threads": n_threads or _n_cores()}
        self._start_timeout_s = start_timeout_s
        self._fetch = fetch
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._status = f"Starting the embedded LLM {self.model}"

    def start(self, on_status: Callable[[str], None] = _ignore_status) -> ServerAddress:
        """Address of the running server; fetches weights and starts it if need be (and again if it died).

        Safe from several threads: one starts it, the others wait and are told the same status.
        """
        while not self._lock.acquire(timeout=1.0):
            on_status(self._status)
        try:
            if self._child is None or self._child.process.poll() is not None:
                self._child = self._start(on_status)
            return self._child.address
        finally:
            self._lock.release()

    def is_healthy(self) -> bool:
        """Whether the server runs and answers."""
        child = self._child
        return child is not None and child.process.poll() is None and _is_ready(child.address.base_url)

    def stop(self) -> None:
        """Ends the server; the next `start` brings up a fresh one.

        One that is being fetched or started just now is not waited for: it ends with this process.
        """
        if not self._lock.acquire(timeout=2.0):
            return
        try:
            if self._child is not None:
                _end(self._child.process)
                self._child = None
        finally:
            self._lock.release()

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _start(self, on_status: Callable[[str], None]) -> _Child:
        def say(text: str) -> None:
            self._status = text
            on_status(text)

        def progress(done: int, total: int, text: str) -> None:
            say(f"{text}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

        weights = self._fetch(self._model, self._models_dir, progress)
        say(f"Starting the embedded LLM {self.model}")
        with tempfile.TemporaryFile("a+b") as log:  # append mode: reading its end does not move the child's place
            return self._spawn(weights.resolve(), log)

    def _spawn(self, weights: Path, log: IO[bytes]) -> _Child:
        key = secrets.token_urlsafe(16)
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", __name__],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,  # Ctrl-C ends the parent in its own time, then the child follows
        )
        weakref.finalize(self, _end, process)
        options = self._options | {"weights": str(weights), "alias": self.model, "key": key, "parent": os.getpid()}
        deadline = time.monotonic() + self._start_timeout_s
        url = _send_and_read(process, json.dumps(options), self._start_timeout_s)
        while url and not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                url = ""
            time.sleep(0.05)
        if not url:
            _end(process)
            raise self._failure(weights, process, _last_words(log))
        return _Child(process, ServerAddress(base_url=f"{url}/v1", model=self.model, api_key=key))

    def _failure(self, weights: Path, process: subprocess.Popen[str], words: str) -> Exception:
        said = f"{words} (exit status {process.returncode})"
        if "shared object" in words:
            return LLMUnavailableError(
                f"llama.cpp lacks a library of the system: {said}. Install it (on Debian and Ubuntu: apt-get install "
                "libgomp1) and start again, or set OPENAI_BASE_URL to use an endpoint."
            )
        if self._model not in LOCAL_MODELS:
            return WeightsError(
                f"llama.cpp could not load {weights}: {said}. Check that the file is complete and of a supported "
                f"model, or set LOCAL_LLM to one of {', '.join(LOCAL_MODELS)}."
            )
        return LLMUnavailableError(
            f"The embedded LLM {self.model} did not start: {said}. Free some memory and try again, set LOCAL_LLM to a "
            "smaller model (smollm2-135m), or set OPENAI_BASE_URL to use an endpoint."
        )


def _n_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _send_and_read(process: subprocess.Popen[str], line: str, timeout_s: float) -> str:
    """First line that the child prints, or "" if it ends or `timeout_s` passes before."""
    assert process.stdin and process.stdout  # noqa: S101 - both are pipes
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return ""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda out: lines.put(out.readline()), args=(process.stdout,), daemon=True).start()
    try:
        return lines.get(timeout=timeout_s).strip()
    except queue.Empty:
        return ""


def _is_ready(base_url: str) -> bool:
    """Whether the server at `base_url` says that it is healthy. Proxies of the environment are not asked."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base_url.removesuffix('/v1')}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _last_words(log: IO[bytes]) -> str:
    """What the child complained of last, on one line."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.split(" E ", 1)[1] for line in lines if " E " in line]
    return " | ".join(errors[:1] or lines[-2:])[:300] or "it ended without a word"


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the child: a closed pipe is its signal, a kill what follows if it does not listen."""
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


# --- the child -------------------------------------------------------------------------------------------------


def _serve() -> None:
    """Never returns: serves the model that the first line of stdin asks for until the parent is gone."""
    options = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the library prints is no answer

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options["weights"]
    params.model_alias = {options["alias"]}
    params.api_keys = [options["key"]]
    params.n_ctx = options["n_ctx"]
    params.n_parallel = options["n_parallel"]
    params.cpuparams.n_threads = options["n_threads"]
    params.cpuparams_batch.n_threads = options["n_threads"]
    params.n_predict = 1024  # a small model can repeat itself for ever; a request may set its own limit
    params.cache_ram_mib = 0  # by default up to 8 GiB of old prompts are kept
    params.port = 0
    params.ui = False
    params.offline = True
    params.verbosity = 1  # errors only
    server = xllamacpp.Server(params)
    print(server.listening_address, file=answers, flush=True)
    while os.getppid() == options["parent"]:  # a second look, should a sibling hold our stdin open
        time.sleep(1.0)
    os._exit(0)


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _serve()
