"""The questions that people ask of a corpus, kept where the page is told to: they can teach the next retriever.

Who asked is not kept, and of a corpus never more than `MOST_KEPT` questions: the oldest go first. The file lies in
the corpus's folder and goes with it.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from distill.json_files import appending
from distill.questions.sources import read_log
from indexes.errors import InputError, StoreError
from indexes.paths import DataPaths, write_file

MOST_KEPT = 10_000  # some 1,000 teach about all that there is to learn; a public page must not fill the disk
_DROPPED_AT_ONCE = MOST_KEPT // 10  # so that a full file is not written anew for every question
_LOCK_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


def asked_file(paths: DataPaths, corpus: str) -> Path:
    """Where the questions about `corpus` are kept, a record {"time", "question"} a line: what `distill run --log`
    reads.
    """
    return paths.corpus(corpus) / "asked.jsonl"


def keep_question(paths: DataPaths, corpus: str, question: str) -> None:
    """Keeps `question`, in place of the oldest ones if there are many; an answer never fails for it."""
    from filelock import FileLock, Timeout

    file = asked_file(paths, corpus)
    if not file.parent.is_dir():  # it may have been deleted meanwhile
        return
    try:
        with FileLock(f"{file}.lock", timeout=_LOCK_TIMEOUT_S):
            with appending(file) as append:
                append({"time": datetime.now(UTC).isoformat(timespec="seconds"), "question": question})
            _drop_oldest(file)
    except (OSError, Timeout, StoreError) as error:
        _log.error("A question could not be kept in %s (%s).", file, error)


def _drop_oldest(file: Path) -> None:
    """Leaves the newest lines of a file that has too many; whoever reads meanwhile finds the old file or the new."""
    lines = file.read_bytes().splitlines(keepends=True)
    if len(lines) > MOST_KEPT:
        write_file(file, b"".join(lines[_DROPPED_AT_ONCE - MOST_KEPT :]))


def count_asked(paths: DataPaths, corpus: str) -> int:
    """How many different questions about `corpus` are kept; 0 where their file cannot be read."""
    try:
        return len(read_log(asked_file(paths, corpus)))
    except InputError:
        return 0
