"""The command line of teaching: python -m distill run | list | delete | report | search | promote | rollback | …"""

from __future__ import annotations

import typer

from distill.commands import delete, export, import_batch, list_, promote, push, report, rollback, run, search
from indexes.commands import run_command_line

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (run, list_, delete, import_batch, report, search, promote, rollback, export, push):
    app.command(command.__name__.strip("_").replace("_", "-"))(command)

if __name__ == "__main__":
    run_command_line(app)
