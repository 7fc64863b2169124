"""Work that may crash or never end, in an interpreter of its own."""

from __future__ import annotations

import json
import sys

_START = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "importlib.import_module(sys.argv.pop(1)).main(*sys.argv[1:])"
)


def child_command(module: str, *arguments: str) -> list[str]:
    """The command that calls `main` of `module` with `arguments`, in an interpreter that finds modules as this does."""
    return [sys.executable, "-c", _START, json.dumps(sys.path), module, *arguments]
