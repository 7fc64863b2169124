"""The settings of a run → the options of `python -m distill run` that say them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill.run import RunConfig

_NAMED_OTHERWISE = {"n_written": "write-questions", "styles": "style"}
_APART = ("base", "name", "corpus", "teacher", "insist", "styles")


def arguments_of(config: RunConfig, data_dir: Path) -> tuple[str, ...]:
    """Every option in which `config` is not the default, and the corpus: with them a run begins or goes on.

    What people typed stands in single arguments, and the corpus behind "--".
    """
    from distill.run import WITHOUT_LLM

    options = [f"--data-dir={data_dir.resolve()}", f"--base={config.base}", f"--name={config.name}"]
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in _APART and value != field.default:
            options.append(f"--{_NAMED_OTHERWISE.get(field.name, field.name.replace('_', '-'))}={value}")
    options += [f"--style={style}" for style in config.styles]
    if config.insist:
        options.append("--insist")
    if config.teacher == WITHOUT_LLM:
        options.append("--teacher=none")
    return (*options, "--", config.corpus)
