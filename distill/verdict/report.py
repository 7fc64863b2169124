"""A run's report from its metrics, as Markdown or on a terminal; names from outside never become markup in either."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distill.verdict.sections import Grid, sections_of

if TYPE_CHECKING:
    from rich.console import Console

# Control characters, those that turn the direction of writing, and halves of a pair that no file can hold.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_MARKUP = re.compile(r"([\\`*_\[\]<>|~#&$]|(?<=:)//|(?<=www)\.|(?<!\w)@)")
_LINE_START = re.compile(r"^(?:(\d+)(?=[.)](?:\s|$))|(?=[-+=]))")  # of a list, a rule or an underline


def report_markdown(metrics: Mapping[str, Any]) -> str:
    """The report of a run as Markdown (CommonMark with tables); parts that `metrics` has nothing for are left out."""
    name = (metrics.get("config") or {}).get("name")
    blocks = [f"# Report of run {_escape(str(name))}" if name else "# Report"]
    for section in sections_of(metrics):
        blocks.append(f"## {section.title}")
        blocks += [_escape(sentence) for sentence in section.sentences]
        if section.grid:
            blocks.append("\n".join(_table_lines(section.grid)))
        if section.remarks:
            blocks.append("\n".join(f"- {_escape(remark)}" for remark in section.remarks))
    return "\n\n".join(blocks) + "\n"


def print_report(metrics: Mapping[str, Any], console: Console) -> None:
    """Prints the report of a run, without its settings, which the run's folder holds."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = [section for section in sections_of(metrics) if section.title != "Settings"]
    for place, section in enumerate(shown):
        console.print(Text(section.title if place == 0 else f"\n{section.title}", style="bold"))
        for sentence in section.sentences:
            console.print(Text(_fit(sentence)), soft_wrap=True)
        if section.grid:
            table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
            for heading in section.grid.headings:
                table.add_column(Text(_fit(heading)), overflow="fold")  # cut names may look the same
            for row in section.grid.rows:
                table.add_row(*(Text(_fit(cell)) for cell in row))
            console.print(table)
        for remark in section.remarks:
            console.print(Text(f"- {_fit(remark)}"), soft_wrap=True)


def _table_lines(grid: Grid) -> Iterator[str]:
    yield _row(grid.headings)
    yield _row(["---"] * len(grid.headings), escaped=True)
    yield from (_row(row) for row in grid.rows)


def _row(cells: Sequence[str], *, escaped: bool = False) -> str:
    return f"| {' | '.join(cell if escaped else _escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    """`text` on one line, such that Markdown shows it as it is: no tag, link, image, heading, list or cell of its own.

    Bare addresses and @names are broken too, as some readers of Markdown make links of them.
    """
    return _LINE_START.sub(r"\1\\", _MARKUP.sub(r"\\\1", _fit(text)))


def _fit(text: str) -> str:
    """`text` on one line, without characters that would act on a terminal or that no file can hold."""
    return " ".join(_UNFIT.sub(" ", text).split())
