"""How often held-out questions have been looked at, and the alpha that is left for the next look.

Each look at the same questions makes a lucky winner likelier. The levels of all looks together never pass ALPHA, as
Σ 6/(π²k²) = 1, however often one looks; a run that went before is never judged more strictly for those that follow.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

from indexes.types import Query

ALPHA = 0.05


def alpha_of(look: int) -> float:
    """The level of the `look`-th look (from 1 on) at the same questions: 6α / (π²k²)."""
    return 6 * ALPHA / (math.pi * look) ** 2


def take_look(file: Path, run: str, held_out: Sequence[Query]) -> int:
    """The number of this look at `held_out`, which is noted in the ledger `file`; a run that asks again looks once.

    An earlier look counts if it was at half of these questions or more, whatever has become of its run since, and so
    does a line that is damaged: nobody knows what it was at. `run` names what is judged, whole: other settings, other
    run.
    """
    asked = {key_of(query) for query in held_out}
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    earlier = [entry for entry in map(_entry, filter(str.strip, lines)) if entry is None or _is_same(entry[1], asked)]
    names = [entry[0] if entry else None for entry in earlier]
    if run in names:
        return names.index(run) + 1
    _note(file, {"run": run, "questions": sorted(asked)})
    return len(earlier) + 1


def key_of(query: Query) -> str:
    """8 hex digits for a question and what is known to answer it."""
    known = json.dumps([query.text, sorted(query.grades.items())], ensure_ascii=False)
    return hashlib.blake2b(known.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _entry(line: str) -> tuple[str, set[str]] | None:
    """(run, questions) of a line of the ledger, None where it is damaged."""
    try:
        entry = json.loads(line)
        return str(entry["run"]), {str(key) for key in entry["questions"]}
    except (ValueError, KeyError, TypeError):
        return None


def _is_same(seen: set[str], asked: set[str]) -> bool:
    return 2 * len(seen & asked) >= len(asked) > 0


def _note(file: Path, entry: dict[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torn = file.is_file() and not file.read_bytes().endswith(b"\n")  # by a kill; its line is kept, and counts
    with file.open("ab") as ledger:
        ledger.write(b"\n" * torn + json.dumps(entry).encode() + b"\n")
