"""Fixtures that all rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.paths import DataPaths


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    return DataPaths(tmp_path / "data")


@pytest.fixture
def encoder() -> KeywordEncoder:
    return KeywordEncoder()
