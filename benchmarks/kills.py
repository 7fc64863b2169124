"""Kills `add` at random moments, then lets one complete: nothing may be lost, doubled or left over.

python benchmarks/kills.py [KILLS RECORDS]: each round changes some files, adds the folder in a child process and kills
it (SIGKILL) at a random moment; after every fifth an add may end, and all is looked at. A cheap encoder stands in for
a model.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before it, as tests/indexes is not the package

import chromadb  # noqa: F401 - loaded before the forks, so that a child begins at once
from fakes import KeywordEncoder

from indexes.corpus import Corpus
from indexes.doctor import examine
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths

_N_FILES = 12
_SEED = 7


def main(n_kills: int, n_records: int) -> None:
    """Prints one line of JSON: how often the child was killed, by what it was doing, and what the doctor finds."""
    draw = random.Random(_SEED)  # noqa: S311 - a repeatable choice, no secret
    with tempfile.TemporaryDirectory() as place:
        folder, paths = Path(place) / "files", DataPaths(Path(place) / "data")
        folder.mkdir()
        for number in range(_N_FILES):
            _write(folder / f"{number}.jsonl", draw, n_records)
        began = time.monotonic()
        os.waitpid(_start(paths, folder), 0)
        whole_s = time.monotonic() - began
        killed: Counter[str] = Counter()
        for number in range(10 * n_kills):
            if killed.total() == n_kills:
                break
            _change(folder, draw, n_records)
            (paths.root / "doing").unlink(missing_ok=True)
            child = _start(paths, folder)
            if number % 4:  # mostly while vectors are written, which is a small part of the time
                _wait_for_embedding(child, paths)
            if moment := _kill(child, draw.random() * whole_s / (2 if number % 4 else 1), paths):
                killed[moment] += 1
            if number % 5 == 4 and not _completed(paths, folder):
                break
        is_sound = _completed(paths, folder)
        told = {"kills": killed.total(), "while": dict(killed), "sound": is_sound}
        print(json.dumps(told | {"first_add_s": round(whole_s, 1)}))
        sys.exit(not is_sound)


def _completed(paths: DataPaths, folder: Path) -> bool:
    """Whether an add that may end leaves all as it should be."""
    _, status = os.waitpid(_start(paths, folder, check=True), 0)
    return status == 0


def _start(paths: DataPaths, folder: Path, *, check: bool = False) -> int:
    """The process id of a child that adds the folder; with `check` its status says whether all is well then."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        encoder = KeywordEncoder(dimension=16)
        for event in add_files(paths, "zoo", [folder], encoder, sync=True):
            (paths.root / "doing").write_text(event.stage)
        status = _check(paths, folder) if check else 0
    except BaseException as error:  # noqa: BLE001 - a forked child must not go on as its parent
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(status)


def _wait_for_embedding(child: int, paths: DataPaths) -> None:
    doing = paths.root / "doing"
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if doing.exists() and doing.read_text() == "embedding":
            return
        time.sleep(0.005)


def _kill(child: int, after_s: float, paths: DataPaths) -> str:
    """What the child was doing when it was killed; "" if it had ended before."""
    time.sleep(after_s)
    ended, _ = os.waitpid(child, os.WNOHANG)
    if ended:
        return ""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    doing = paths.root / "doing"
    return doing.read_text() or "starting" if doing.exists() else "starting"


def _write(file: Path, draw: random.Random, n_records: int) -> None:
    records = [{"text": f"Fact {draw.randrange(10**9)} of {file.stem}."} for _ in range(n_records)]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def _change(folder: Path, draw: random.Random, n_records: int) -> None:
    """Rewrites three files, renames one and takes one away or brings it back."""
    files = sorted(folder.iterdir())
    for file in draw.sample(files, 3):
        _write(file, draw, n_records)
    draw.choice(files).rename(folder / f"{draw.randrange(10**6)}.jsonl")
    if len(files) > _N_FILES // 2:
        draw.choice(sorted(folder.iterdir())).unlink()
    else:
        _write(folder / f"{draw.randrange(10**6)}.jsonl", draw, n_records)


def _check(paths: DataPaths, folder: Path) -> int:
    """0 if the corpus has exactly the texts of the files, the index finds each by its own words, and all is sound."""
    wanted = sorted(
        (f"files/{file.name}", json.loads(line)["text"]) for file in folder.iterdir() for line in file.open()
    )
    manifest, encoder = Corpus.open(paths, "zoo"), KeywordEncoder(dimension=16)
    stored = list(manifest.passages())
    index = PassageIndex.open(paths, "zoo", encoder)
    found = [(finding.kind, finding.subject) for finding in examine(paths, "zoo")]
    if found:
        print(found, file=sys.stderr)
    vectors = index.vectors([passage.id for passage in stored])
    hits = [candidates[0] for candidates in index.search_vectors(vectors, 1)]
    is_complete = sorted((passage.source, passage.text) for passage in stored) == wanted
    is_found = all(hit.score > 0.99 for hit in hits)
    if not is_complete or not is_found or index.n_passages != len(wanted):
        print(f"complete {is_complete}, found {is_found}, {index.n_passages} of {len(wanted)}", file=sys.stderr)
        return 1
    return int(bool(found))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3] or ("50", "200")))
