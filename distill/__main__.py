"""The command line of teaching: python -m distill run | report | search | promote | rollback | export | push."""

from __future__ import annotations

import typer

from distill.commands import export, import_batch, promote, push, report, rollback, run, search
from indexes.commands import run_command_line

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (run, import_batch, report, search, promote, rollback, export, push):
    app.command()(command)

if __name__ == "__main__":
    run_command_line(app)
