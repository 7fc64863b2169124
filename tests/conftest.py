"""Fixtures that all rooms share, and what keeps a whole run short."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.paths import DataPaths

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of this run's own is made in it
_ROOM = 4 * 2**30
_n_set_aside = 0


def pytest_configure(config: pytest.Config) -> None:
    """Puts temporary folders into memory where there is room: each small database would wait for the disk otherwise."""
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Sets imported modules aside from the garbage collection that the store does whenever it is opened anew: of torch
    and gradio alone it takes half a second.
    """
    global _n_set_aside
    if len(sys.modules) > _n_set_aside + 100:
        gc.collect()
        gc.freeze()
        _n_set_aside = len(sys.modules)


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    return DataPaths(tmp_path / "data")


@pytest.fixture
def encoder() -> KeywordEncoder:
    return KeywordEncoder()
