"""Options that several commands take, and what the environment says beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from indexes.paths import DataPaths
from indexes.store_settings import read_store

DataDir = Annotated[Path, typer.Option(envvar="DATA_DIR", help="Where everything is kept.", show_default=True)]
EncoderName = Annotated[
    str, typer.Option(envvar="ENCODER", help="A name under DATA_DIR/encoders, a folder, or a hub name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def open_paths(data_dir: Path) -> DataPaths:
    """Everything under `data_dir`, its vectors there too or where CHROMA_URL says."""
    return DataPaths(data_dir, read_store(os.environ))
