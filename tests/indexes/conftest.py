"""An encoder of random weights that is converted once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from indexes.encoders.loading import load_encoder
from indexes.paths import DataPaths


@pytest.fixture(scope="session")
def with_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an encoder "tiny" in it and its graphs, made once: to be copied."""
    from tiny_encoders import tiny_transformer

    folder = tmp_path_factory.mktemp("tiny")
    paths = DataPaths(folder / "data")
    tiny_transformer(folder).save_pretrained(str(paths.encoder("tiny")), create_model_card=False)
    load_encoder("tiny", paths, "int8")  # which is made of the graph in fp32
    return paths.root


@pytest.fixture
def tiny(paths: DataPaths, with_tiny: Path) -> DataPaths:
    """A data folder with an encoder "tiny" in it, converted, but without the card of an encoder that was loaded."""
    shutil.copytree(with_tiny, paths.root, ignore=shutil.ignore_patterns("cards"))
    return paths
