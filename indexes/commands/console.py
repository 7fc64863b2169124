"""What commands print: found passages and JSON on stdout, messages and errors on stderr."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from indexes.errors import UserError
from indexes.memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexes.types import Candidate

console = Console(highlight=False)
messages = Console(stderr=True, highlight=False)


def run_command_line(commands: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Runs a command line, the process's own by default: a `UserError` or a full memory becomes its sentence on stderr
    and exit status 1.
    """
    try:
        commands(arguments)
    except UserError as error:
        messages.print(str(error), style="red", markup=False, soft_wrap=True)
        raise SystemExit(1) from None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        messages.print("Memory is full. End other programs, or give fewer things at a time; what is done is kept.")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        messages.print("Stopped. Run the same command again to go on.")
        raise SystemExit(130) from None


def print_found(found: Sequence[Candidate], *, as_json: bool) -> None:
    """Prints passages with their scores, best first."""
    if as_json:
        print_json([asdict(candidate.passage) | {"score": candidate.score} for candidate in found])
        return
    for rank, candidate in enumerate(found, start=1):
        passage = candidate.passage
        console.print(f"{rank:>3}  {candidate.score:.3f}  {passage.source}  {passage.title}", markup=False)
        console.print(f"     {' '.join(passage.text.split())[:200]}", markup=False)


def print_json(value: object) -> None:
    """Prints `value` as JSON."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
