"""The settings of a run as a file: JSON or TOML, one key a setting; what a run notes of itself can be given again."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from distill.run import RunConfig
from indexes.errors import InputError

# Settings that name a file, from the folder of the settings.
_FILES = ("questions", "log", "like", "rankings", "votes", "progress")
_NOTED = ("content", "fingerprint")  # what a run notes beside its settings
_BOUNDS = {
    "n_written": (0, math.inf),
    "n_candidates": (2, 100),
    "n_scored": (2, 100),
    "limit": (0, math.inf),
    "rounds": (1, 5),
    "pair_share": (0, 1),
    "topic_share": (0, 1),
    "concurrency": (0, 256),
    "reply_tokens": (50, math.inf),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a run asks and whom it tells, which may change while it goes on.

    `concurrency` counts requests at a time (0: 8, embedded: 1), `budget` is "2.50 usd" or "200000 tokens",
    `reply_tokens` bounds a reply (an order of 20 passages takes 100; those that think aloud need thousands),
    `report_to` is a tracker, `progress` a file that always says where the run is.
    """

    concurrency: int = 0
    budget: str = ""
    reply_tokens: int = 400
    report_to: str = "none"
    progress: str = ""


def read_settings(file: Path | None, given: Mapping[str, Any]) -> tuple[RunConfig, Asking]:
    """The settings in `file`, those in `given` (None: not given) before them.

    Raises `InputError` for a file that cannot be read, a setting that there is none of, or a value that is none of it.
    """
    values = _read(file) if file else {}
    typed = {key: value for key, value in given.items() if value is not None}
    values |= typed
    asking = {field.name for field in fields(Asking)}
    known = {field.name for field in fields(RunConfig)}
    if strangers := sorted(values.keys() - known - asking - set(_NOTED)):
        raise InputError(f"{_where(file)}: there is no setting '{strangers[0]}'. There are: {_listed(known | asking)}.")
    if missing := [name for name in ("corpus", "name") if not values.get(name)]:
        raise InputError(f"{_where(file)}: '{missing[0]}' is missing. Give it in the file or with the command.")
    return (
        _checked(RunConfig, {key: values[key] for key in known & values.keys()}, file, typed),
        _checked(Asking, {key: values[key] for key in asking & values.keys()}, file, typed),
    )


def settings_text(config: RunConfig) -> str:
    """What `read_settings` reads as `config`: everything that is not the default."""
    defaults = {field.name: field.default for field in fields(RunConfig)}
    changed = {key: value for key, value in asdict(config).items() if value != defaults[key]}
    return json.dumps(changed, ensure_ascii=False, indent=2) + "\n"


def _read(file: Path) -> dict[str, Any]:
    is_toml = file.suffix.lower() == ".toml"
    try:
        text = file.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text) if is_toml else json.loads(text)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}. Give the path of a file of settings.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file} is not {'TOML' if is_toml else 'JSON'} ({error}). Expected are settings by name, as JSON, or as "
            "TOML in a file whose name ends in .toml."
        ) from error
    if not isinstance(values, dict):
        raise InputError(f'{file} holds no settings by name. Expected is {{"corpus": "handbook", "name": "first"}}.')
    named = {key: values[key] for key in _FILES if isinstance(values.get(key), str) and values[key]}
    return values | {key: str((file.parent / value).resolve()) for key, value in named.items()}


def _checked(kind: Any, values: Mapping[str, Any], file: Path | None, typed: Collection[str]) -> Any:
    """`values` as a `kind`; those that were `typed` do not come from `file`."""
    from pydantic import TypeAdapter, ValidationError

    def refused(name: str, value: object, why: str) -> InputError:
        return InputError(f"{_where(None if name in typed else file)}: {name} = {value!r} will not do: {why}.")

    try:
        checked = TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"][0].lower() + first["msg"][1:]
        raise refused(str(first["loc"][0]) if first["loc"] else "?", first["input"], said) from None
    for name in _BOUNDS.keys() & values.keys():
        least, most = _BOUNDS[name]
        if not least <= getattr(checked, name) <= most:
            expected = f"at least {least}" if most == math.inf else f"from {least} to {most}"
            raise refused(name, values[name], f"{expected} is expected")
    return checked


def _where(file: Path | None) -> str:
    return str(file) if file else "The command"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
