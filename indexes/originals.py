"""The files of a corpus, kept as they came in its folder, named by their content."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from pathlib import Path

from indexes.formats import suffix_of

FILES = "files"


def hash_file(file: Path) -> str:
    """The identity of a file: a digest of its content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def original(folder: Path, source: str, content_hash: str) -> Path:
    """Where the original of a source is kept under a corpus's folder, by its content."""
    return folder / FILES / f"{content_hash}{suffix_of(source)}"


def original_of(connection: sqlite3.Connection, folder: Path, source: str) -> Path | None:
    """Where the original of a source is kept, None if the corpus has no such source."""
    row = connection.execute("SELECT content_hash FROM sources WHERE source = ?", (source,)).fetchone()
    return original(folder, source, row[0]) if row else None


def originals(connection: sqlite3.Connection, folder: Path) -> dict[str, Path]:
    """Where the original of each source is kept, by source."""
    rows = connection.execute("SELECT source, content_hash FROM sources ORDER BY source")
    return {source: original(folder, source, content_hash) for source, content_hash in rows}


def keep_original(file: Path, kept: Path) -> None:
    """Copies `file` to `kept`, which appears whole or not at all; the same content is there only once."""
    if kept.is_file():
        return
    kept.parent.mkdir(exist_ok=True)
    partial = kept.with_name(kept.name + ".partial")
    shutil.copyfile(file, partial)
    partial.replace(kept)


def is_named(connection: sqlite3.Connection, folder: Path, kept: Path) -> bool:
    """Whether a source is still this very original."""
    content_hash = kept.name.split(".")[0]
    named = connection.execute("SELECT source FROM sources WHERE content_hash = ?", (content_hash,))
    return any(original(folder, row[0], content_hash) == kept for row in named)


def stray_files(folder: Path, wanted: set[Path]) -> list[Path]:
    """What is kept under a corpus's folder and is none of the originals that are wanted."""
    return [file for file in sorted((folder / FILES).glob("*")) if file not in wanted]
