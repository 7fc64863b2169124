"""Finished runs as files, as `python -m distill run` leaves them, and plans of new ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.jobs.launching import Form, Plan, make_plan
from app.workbench import Workbench
from distill.llm.connection import LLMConfig
from indexes.paths import DataPaths

PAGE_LLM = LLMConfig(base_url="http://127.0.0.1:9/v1", api_key="sk-page", model="wise")
METRICS: dict[str, Any] = {
    "config": {"name": "taught", "corpus": "nature", "base": "keywords"},
    "questions": 200,
    "retrievers": {"keywords": {"ndcg@10": 0.56}, "taught": {"ndcg@10": 0.64}, "lexical": {"ndcg@10": 0.6}},
    "intervals": {"keywords": [0.5, 0.62], "taught": [0.58, 0.7]},
    "verdict": {
        "promoted": True,
        "sentence": "On 200 questions it never saw, nDCG@10 rose.",
        "advice": [{"sentence": "Go on.", "option": "--go"}],
    },
}


def plan_of(bench: Workbench, form: Form) -> Plan:
    """The plan of `form` on a page whose LLM is `PAGE_LLM`."""
    return make_plan(form, bench.paths, bench.encoder, PAGE_LLM)


def write(file: Path, *records: object) -> Path:
    """`file` with a record a line, its folder made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


def finished(paths: DataPaths, name: str = "taught", **changes: object) -> None:
    """A run as `python -m distill run` leaves it."""
    metrics = METRICS | {"config": METRICS["config"] | {"name": name}} | changes
    write(paths.run(name) / "config.json", metrics["config"])
    write(paths.run(name) / "metrics.json", metrics)
