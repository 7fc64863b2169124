"""Fixtures that all rooms share, and what keeps a whole run short."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import psutil
import pytest
from fakes import KeywordEncoder

from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.paths import DataPaths

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of this run's own is made in it
_ROOM = 4 * 2**30
_SLOW = {"started_before", "models_dir"}  # fixtures that load a real model
_n_set_aside = 0


def pytest_configure(config: pytest.Config) -> None:
    """Puts temporary folders into memory where there is room: each small database would wait for the disk otherwise.
    Of several workers each has one core, and its libraries know that. No generated case is held to a time.
    """
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    elif "PYTEST_DEBUG_TEMPROOT" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM:
        for left in _MEMORY.glob("tests-of-*"):  # of tests that were killed
            if not psutil.pid_exists(int(left.name.split("-")[2])):
                shutil.rmtree(left, ignore_errors=True)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = folder = tempfile.mkdtemp(prefix=f"tests-of-{os.getpid()}-", dir=_MEMORY)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs a browser or a real model; slow files begin first, so that no worker is left alone with one."""
    in_browser = {item.path for item in items if "browser" in getattr(item, "fixturenames", ())}
    for item in items:
        if item.path in in_browser:  # the others of the file look at what its visit left
            item.add_marker("browser")
        if not _SLOW.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    ranks: dict[Path, int] = {}
    for item in items:
        ranks[item.path] = min(ranks.get(item.path, 2), _rank(item))
    items.sort(key=lambda item: ranks[item.path])


def _rank(item: pytest.Item) -> int:
    if item.get_closest_marker("browser"):
        return 0
    return 1 if item.get_closest_marker("slow") else 2


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    if sys.platform != "linux":
        pytest.skip("mounts a tmpfs")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root only")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """A data folder where the default encoder's graphs are, which take ten seconds to make; workers share it."""
    folder = tmp_path_factory.getbasetemp()
    paths = DataPaths((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "converted")
    load_encoder(DEFAULT_ENCODER, paths)
    return paths


@pytest.fixture(scope="session")
def started_before(converted: DataPaths) -> Callable[[Path], DataPaths]:
    """Makes a data folder as after a first start: empty, but for the default encoder's graphs."""

    def make(root: Path) -> DataPaths:
        paths = DataPaths(root)
        shutil.copytree(converted.graphs, paths.graphs, copy_function=_link, ignore=shutil.ignore_patterns("lock"))
        return paths

    return make


def _link(file: str, other: str) -> None:
    os.link(file, other)  # graphs are replaced and never written into
