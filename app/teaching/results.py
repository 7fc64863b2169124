"""What a run has measured, from its teacher to its verdict, as far as it has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.teaching.growing_files import read_object, read_whole_records, stamped
from indexes.paths import DataPaths

_METRIC = "ndcg@10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a retriever reached on questions that were held out; `interval` is None in runs that kept none."""

    label: str
    value: float
    interval: tuple[float, float] | None
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of a run; `is_better` is what the run decided, whatever was promoted by hand later.

    `encoder` is what it promoted, "" for nothing: its own, or the free control beside it. `on_trial` says that only
    questions by an LLM judged; `is_open` that too few did, or none.
    """

    is_better: bool
    sentence: str
    advice: tuple[str, ...]
    encoder: str = ""
    on_trial: bool = False
    is_open: bool = False


def metrics_of(paths: DataPaths, name: str) -> dict[str, Any]:
    """What the run measured, {} before its end."""
    return read_object(paths.run(name) / "metrics.json")


def verdict_of(metrics: Mapping[str, Any]) -> Verdict | None:
    """The verdict of a finished run."""
    verdict = metrics.get("verdict")
    if not isinstance(verdict, Mapping) or not verdict.get("sentence"):
        return None
    return Verdict(
        is_better=bool(verdict.get("promoted")),
        sentence=str(verdict["sentence"]),
        advice=tuple(_advice(each) for each in verdict.get("advice") or ()),
        encoder=str(verdict.get("encoder") or ""),
        on_trial=bool(verdict.get("on_trial")),
        is_open=verdict.get("reason") in ("few", "unjudged"),
    )


def _advice(advice: Any) -> str:
    """Advice for who fills in the form, without what to type; older runs kept sentences alone."""
    return str(advice.get("sentence", "")) if isinstance(advice, Mapping) else str(advice)


def bars_of(metrics: Mapping[str, Any]) -> list[Bar]:
    """nDCG@10 of every retriever that the run judged, in the run's order."""
    config = metrics.get("config") or {}
    base, name = str(config.get("base", "")), str(config.get("name", ""))
    known = {
        base: ("Baseline", "baseline"),
        name: ("Taught", "taught"),
        "lexical": ("Keyword search (BM25)", "other"),
        f"weighted({base})": ("Baseline, rare words count more", "other"),
        f"{name}-free": ("Taught for free", "other"),
        f"fused({base})": ("Baseline and keywords, fused", "baseline"),
        f"fused(weighted({base}))": ("Rare words and keywords, fused", "other"),
        f"fused({name}-free)": ("Taught for free and keywords, fused", "other"),
        f"fused({name})": ("Taught and keywords, fused", "taught"),
        "ranker over fused": ("Ranker over the fused baseline", "other"),
        f"reranked({name})": ("Taught, fused and re-ranked", "taught"),
    }
    intervals = metrics.get("intervals") or {}
    bars = []
    for retriever, values in (metrics.get("retrievers") or {}).items():
        if _METRIC in values:
            label, kind = known.get(retriever, (f"{retriever}, promoted before", "other"))
            low_high = intervals.get(retriever)
            interval = (float(low_high[0]), float(low_high[1])) if low_high else None
            bars.append(Bar(label=label, value=float(values[_METRIC]), interval=interval, kind=kind))
    return bars


def malformed_share(paths: DataPaths, name: str) -> tuple[int, float | None] | None:
    """How many orders have come, and what share was not in the form that was asked for; None before the first.

    Where the orders were given in a file nobody was asked for a form, so the share is None too.
    """
    known = _malformed(*stamped(paths.run(name) / "rankings.jsonl"))
    given = bool(read_object(paths.run(name) / "config.json").get("rankings"))
    return (known[0], None) if known and given else known


@lru_cache(maxsize=8)
def _malformed(file: Path, n_bytes: int, changed_at: float) -> tuple[int, float] | None:
    statuses = [record.get("status", "ok") for record in read_whole_records(file)] if n_bytes else []
    return (len(statuses), sum(status != "ok" for status in statuses) / len(statuses)) if statuses else None


def assessment_of(paths: DataPaths, name: str) -> Mapping[str, Any]:
    """What was found out about the teacher before it was asked in earnest, {} if nothing was."""
    teacher = read_object(paths.run(name) / "teacher.json")
    chosen = [each for each in teacher.get("assessments") or () if each.get("mode") == teacher.get("mode")]
    return chosen[-1] if chosen else {}


def report_of(paths: DataPaths, name: str) -> str:
    """The run's report as Markdown, "" before its end."""
    try:
        return (paths.run(name) / "report.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
