"""The demonstration corpus: the documentation of the running Python's standard library, one document a name.

It is read from the interpreter itself, so nothing is downloaded or redistributed. Importing every module has side
effects, so the reading is done by a child process: `python -m app.demo OUT.jsonl`.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import pkgutil
import re
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from indexes.paths import write_file

DEMO_CORPUS = "python-stdlib"
EXAMPLE_QUESTIONS = (
    "How do I write JSON with indentation and sorted keys?",
    "How do I cache the results of a function?",
    "How do I merge several sorted iterators?",
    "How do I find the differences between two lists of lines?",
    "What is the difference between copy and deepcopy?",
)
_MIN_LENGTH = 80  # shorter docstrings ("Return the size.") say nothing that a question could be about
_SKIPPED = {
    "antigravity", "ensurepip", "idlelib", "lib2to3", "msilib", "pydoc_data", "test", "this", "turtle", "turtledemo",
    "tkinter", "distutils", "genericpath", "ntpath",
}  # fmt: skip
_SKIPPED_PARTS = {"__main__", "test", "tests"}
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_WRITTEN_AS = {"posixpath": "os.path"}
_PLAIN_TYPES = bool | int | float | str | bytes
_PLATFORM_TWINS = {"posix", "nt"}  # where the functions of `os` say they live


def read_docstrings() -> Iterator[dict[str, str]]:
    """The documented public names of the standard library; re-exports and repeated texts once, by shortest name.

    `id` is how one writes it, `title` adds the signature.
    """
    seen_objects: set[int] = set()
    seen_texts: set[str] = set()
    for name in _module_names():
        module = _import(name)
        if module is None:
            continue
        for identifier, value in _documented(module):
            text = _docstring(value)
            if len(text) < _MIN_LENGTH or id(value) in seen_objects or text in seen_texts:
                continue
            seen_objects.add(id(value))
            seen_texts.add(text)
            yield {"id": identifier, "title": identifier + _signature(value), "text": text}


def _module_names() -> list[str]:
    """Public modules and submodules, fewest dots first, so that a re-exported name is met where people import it."""
    top = sorted(name for name in sys.stdlib_module_names if not name.startswith("_") and name not in _SKIPPED)
    names = ["builtins", *(name for name in top if name != "builtins")]
    for name in top:
        module = _import(name)
        folders = getattr(module, "__path__", None)
        if folders:
            found = pkgutil.walk_packages(folders, f"{name}.", onerror=lambda _: None)
            names += [info.name for info in found if _is_public(info.name)]
    return sorted(names, key=lambda name: (name != "builtins", name.count("."), name))


def _is_public(name: str) -> bool:
    return not any(part.startswith("_") or part in _SKIPPED_PARTS for part in name.split("."))


def _import(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):  # noqa: BLE001 - not every module fits every platform; the rest is still useful
        return None


def _documented(module: types.ModuleType) -> Iterator[tuple[str, object]]:
    shown = _WRITTEN_AS.get(module.__name__, module.__name__)
    prefix = "" if shown == "builtins" else f"{shown}."
    yield shown, module
    listed = getattr(module, "__all__", None)
    for name in sorted(listed or vars(module)):
        value = getattr(module, name, None)
        if name.startswith("_") or not (listed or _lives_in(value, module)):
            continue
        if inspect.isclass(value):
            yield prefix + name, value
            yield from _methods(prefix + name, value)
        elif inspect.isroutine(value):
            yield prefix + name, value


def _lives_in(value: object, module: types.ModuleType) -> bool:
    home = getattr(value, "__module__", None)
    return home in {module.__name__, f"_{module.__name__}"} or home in _PLATFORM_TWINS


def _methods(prefix: str, owner: type) -> Iterator[tuple[str, object]]:
    for name, value in sorted(vars(owner).items()):
        plain = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        if not name.startswith("_") and inspect.isroutine(plain):
            yield f"{prefix}.{name}", plain


def _docstring(value: object) -> str:
    text = getattr(value, "__doc__", None)
    return _ADDRESS.sub("", inspect.cleandoc(text)) if isinstance(text, str) else ""


def _signature(value: object) -> str:
    if isinstance(value, types.ModuleType):
        return " module"
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - some builtins carry a signature text that does not parse, each in its own way
        return "()" if inspect.isroutine(value) else ""
    parameters = [_plain(parameter) for parameter in signature.parameters.values()]
    return str(inspect.Signature(parameters))


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    """`parameter` without its annotation, and with a default only if that is a plain constant.

    Others are of this run and this machine: addresses, and in one case (`environ=os.environ`) every secret in it.
    """
    default = parameter.default
    if default is not inspect.Parameter.empty and not isinstance(default, _PLAIN_TYPES | None):
        default = _Elided()
    return parameter.replace(default=default, annotation=inspect.Parameter.empty)


class _Elided:
    def __repr__(self) -> str:
        return "..."


def write_docstrings(out: Path) -> int:
    """How many documents were written to `out`, as jsonl; the file appears complete or not at all."""
    silence = io.StringIO()  # nothing that an imported module prints is shown
    with warnings.catch_warnings(), redirect_stdout(silence), redirect_stderr(silence):
        warnings.simplefilter("ignore")
        entries = list(read_docstrings())
    write_file(out, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
    return len(entries)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m app.demo OUT.jsonl\n")
        raise SystemExit(2)
    write_docstrings(Path(sys.argv[1]))
