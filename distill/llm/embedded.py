"""The embedded LLM: served by llama.cpp in a child process that dies with us."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from distill.llm.weights import LOCAL_MODELS, Progress, ensure_weights
from indexes.errors import LLMUnavailableError, WeightsError
from indexes.processes import Child, n_cores, serve

EMBEDDED_HEADER = "X-Embedded-LLM"  # what requests to the embedded LLM carry, so that their errors name it


def is_embedded(llm: Any) -> bool:
    """Whether a chat model is the embedded one."""
    return EMBEDDED_HEADER in (getattr(llm, "default_headers", None) or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a running server listens; the key keeps other users of the machine and web pages out."""

    base_url: str
    model: str
    api_key: str


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
        self._options = {"n_ctx": n_ctx * n_parallel, "n_parallel": n_parallel, "n_threads": n_threads or n_cores()}
        self._start_timeout_s = start_timeout_s
        self._fetch = fetch
        self._lock = threading.Lock()
        self.child: Child | None = None  # whose `status` is None as long as it runs
        self._address = ServerAddress(base_url="", model=self.model, api_key="")
        self._status = f"Starting the embedded LLM {self.model}"

    def start(self, on_status: Callable[[str], None] = lambda text: None) -> ServerAddress:
        """Address of the running server; fetches weights and starts it if need be (and again if it died).

        Safe from several threads: one starts it, the others wait and are told the same status.
        """
        while not self._lock.acquire(timeout=1.0):
            on_status(self._status)
        try:
            if self.child is None or self.child.status is not None:
                self._start(on_status)
            return self._address
        finally:
            self._lock.release()

    def stop(self) -> None:
        """Ends the server; the next `start` brings up a fresh one.

        One that is being fetched or started just now is not waited for: it ends with this process.
        """
        if not self._lock.acquire(timeout=2.0):
            return
        try:
            if self.child is not None:
                self.child.end()
                self.child = None
        finally:
            self._lock.release()

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _start(self, on_status: Callable[[str], None]) -> None:
        def say(text: str) -> None:
            self._status = text
            on_status(text)

        def progress(done: int, total: int, text: str) -> None:
            say(f"{text}: {done / 1e6:.0f} of {total / 1e6:.0f} MB")

        weights = self._fetch(self._model, self._models_dir, progress)
        say(f"Starting the embedded LLM {self.model}")
        with tempfile.TemporaryFile("a+b") as log:  # append mode: reading its end does not move the child's place
            self._spawn(weights.resolve(), log)

    def _spawn(self, weights: Path, log: IO[bytes]) -> None:
        key = secrets.token_urlsafe(16)
        child = Child(__name__, log)
        deadline = time.monotonic() + self._start_timeout_s
        options = self._options | {"weights": str(weights), "alias": self.model, "key": key}
        try:
            url = child.ask(options, self._start_timeout_s)["url"]
            _wait_until_ready(child, url, deadline)
        except (EOFError, TimeoutError):
            child.end()
            raise self._failure(weights, f"{_last_words(log)} (exit status {child.status})") from None
        self.child, self._address = child, ServerAddress(base_url=f"{url}/v1", model=self.model, api_key=key)

    def _failure(self, weights: Path, said: str) -> Exception:
        if "shared object" in said:
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


def _wait_until_ready(child: Child, base_url: str, deadline: float) -> None:
    """Returns when the server at `base_url` says that it is healthy; `TimeoutError` if its `child` ends before, or none
    of that comes by `deadline`. Proxies of the environment are not asked.
    """
    import httpx

    with httpx.Client(timeout=5, trust_env=False) as client:  # one for all looks: each would read the certificates
        while True:
            with suppress(httpx.HTTPError):
                if client.get(f"{base_url}/health").status_code == 200:
                    return
            if child.status is not None or time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.05)


def _last_words(log: IO[bytes]) -> str:
    """What the child complained of last, on one line."""
    log.seek(0)
    lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.split(" E ", 1)[1] for line in lines if " E " in line]
    return " | ".join(errors[:1] or lines[-2:])[:300] or "it ended without a word"


def main() -> None:
    """In the child: serves the model that it is asked for."""
    servers = []  # they serve as long as they are held

    def load(options: dict[str, Any]) -> dict[str, Any]:
        servers.append(_load(options))
        return {"url": servers[-1].listening_address}

    serve(load)


def _load(options: dict[str, Any]) -> Any:
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
    return xllamacpp.Server(params)
