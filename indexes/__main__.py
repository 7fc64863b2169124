"""The command line of the ground floor, `python -m indexes`: corpora, their indexes, and how well they answer."""

from __future__ import annotations

import typer

from indexes.commands import add, delete, doctor, evaluate, export, import_, list_, run_command_line, search

_HELP = f"""{__doc__}

CHROMA_URL (with CHROMA_TENANT, CHROMA_DATABASE and CHROMA_TOKEN where the server asks for them) puts every collection
on a Chroma server or into Chroma Cloud; without it the store is embedded, under DATA_DIR.
"""
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=_HELP)
for command in (add, search, list_, delete, export, import_, doctor, evaluate):
    app.command(command.__name__.strip("_"))(command)

if __name__ == "__main__":
    run_command_line(app)
