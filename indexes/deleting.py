"""A corpus's folder, deleted so that a half-deleted one is never taken for a corpus."""

from __future__ import annotations

import shutil
from pathlib import Path

from indexes.errors import InputError


def delete_folder(folder: Path) -> None:
    """Removes a corpus's folder; renamed first, so that a half-deleted one is never taken for a corpus."""
    doomed = doomed_folder(folder)
    if doomed.exists():
        shutil.rmtree(doomed)
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be deleted: {error.strerror}. Check its rights.") from error


def doomed_folder(folder: Path) -> Path:
    """What a corpus's folder is called while it is being deleted."""
    return folder.with_name(f".{folder.name}.deleted")
