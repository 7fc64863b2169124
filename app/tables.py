"""Corpora, sources and the outcome of adding files → safe HTML tables: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from app.background import Stage
from app.rendering import notice_html
from indexes.records import CorpusInfo, FileOutcome, SourceInfo

_MAX_ROWS = 200
_ORDER = {"failed": 0, "removed": 1, "renamed": 2, "replaced": 3, "read": 4, "same": 5, "unchanged": 6}


def progress_html(label: str, done: int, total: int) -> str:
    """A labelled bar."""
    percent = 100 * done // total if total else 100
    return (
        f'<div class="progress" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-label="{escape(label)}"><p>{escape(label)} <span>{done:,} of {total:,}</span></p>'
        f'<div class="bar"><i style="width: {percent}%"></i></div></div>'
    )


def stages_html(stages: Sequence[Stage]) -> str:
    """What goes on in the background, and what failed there; nothing when all is done."""
    shown = []
    for stage in stages:
        if stage.state == "failed":
            shown.append(notice_html(stage.message, "error"))
        elif stage.state == "working":
            shown.append(
                progress_html(stage.message, stage.done, stage.total)
                if stage.total
                else notice_html(f"{stage.message} …", "busy")
            )
    return "".join(shown)


def outcomes_html(outcomes: Sequence[FileOutcome]) -> str:
    """What became of each file, failures first."""
    if not outcomes:
        return ""
    ordered = sorted(outcomes, key=lambda outcome: (_ORDER[outcome.status], outcome.source))
    rows = [
        (
            escape(each.source),
            f'<span class="status {each.status}">{each.status}</span>',
            f"{each.n_documents:,}",
            f"{each.n_passages:,}",
            escape(each.reason),
        )
        for each in ordered[:_MAX_ROWS]
    ]
    return _table("Files", ("File", "Outcome", "Documents", "Passages", "Why"), rows, len(ordered))


def corpora_html(corpora: Sequence[CorpusInfo], n_bytes: Mapping[str, int] | None = None) -> str:
    """Every corpus in figures, with the size of its files by name and the passages that each index has."""
    sizes = n_bytes or {}
    if not corpora:
        return '<p class="empty">There is no corpus yet. Drop some files on the left to make one.</p>'
    rows = [
        (
            escape(each.name),
            f"{each.n_sources:,}",
            f"{each.n_documents:,}",
            f"{each.n_passages:,}",
            format_bytes(sizes[each.name]) if each.name in sizes else "–",
            "<br>".join(f"{escape(index.encoder)} ({index.n_passages:,})" for index in each.indexes)
            or "<i>not indexed yet</i>",
        )
        for each in corpora
    ]
    return _table(
        "Corpora", ("Corpus", "Files", "Documents", "Passages", "Size", "Indexed by (passages)"), rows, len(rows)
    )


def sources_html(sources: Sequence[SourceInfo]) -> str:
    """The files of one corpus."""
    rows = [
        (escape(each.source), f"{each.n_documents:,}", f"{each.n_passages:,}", format_bytes(each.n_bytes))
        for each in sources[:_MAX_ROWS]
    ]
    return _table("Files of the corpus", ("File", "Documents", "Passages", "Size"), rows, len(sources))


def format_bytes(n_bytes: int) -> str:
    """'512 B', '1.4 kB', '12.0 MB'."""
    size, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"


def _table(name: str, heads: Sequence[str], rows: Iterable[Sequence[str]], n_rows: int) -> str:
    """A table of cells that are safe HTML already."""
    head = "".join(f"<th>{head}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    more = f'<p class="aside">and {n_rows - _MAX_ROWS:,} more</p>' if n_rows > _MAX_ROWS else ""
    return (
        f'<div class="scroll"><table class="figures" aria-label="{escape(name)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{more}"
    )
