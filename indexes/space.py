"""Room on the disk: an `add` ends with a sentence before it is full, because a full one lets nobody read the store."""

from __future__ import annotations

import shutil

from indexes.errors import StoreError
from indexes.paths import DataPaths

_RESERVE = 2**26  # bytes; half a minute's writing, and far more than opening the store takes
_MAX_SHARE = 4  # of a small disk, no more than this part is kept free


def check_space(paths: DataPaths) -> None:
    """Raises a sentence when DATA_DIR's disk is all but full: SQLite needs room even to open the store."""
    usage = shutil.disk_usage(paths.root)
    reserve = min(_RESERVE, usage.total // _MAX_SHARE)
    if usage.free < reserve:
        raise StoreError(
            f"The disk of {paths.root} has {usage.free / 2**20:.0f} MiB left, and {reserve / 2**20:.0f} MiB are kept "
            "free so that what is there can be searched. Free some space and run the same command again; it goes on "
            "where it stopped."
        )
