"""A whole run over a dozen facts in a process of its own, which kills itself where it is told to."""

from __future__ import annotations

import os

from distill.commands import connector, make_meter
from distill.llm.connection import LLMConfig
from distill.pipeline import run_distillation
from distill.run import Event
from distill.run_config import RunConfig
from indexes.paths import DataPaths

N_WRITTEN = 12


def teach(paths: DataPaths, base_url: str, name: str, halt_at: str = "", nth: int = 2) -> None:
    """Teaches, and kills its own process at the `nth` report of the stage `halt_at` ("": never)."""
    config = RunConfig(
        name=name,
        corpus="facts",
        base="all-MiniLM-L6-v2",
        n_written=N_WRITTEN,
        n_candidates=4,
        teacher="scripted",
        train="query",
        passage_weights="idf",
    )
    llm = LLMConfig(base_url=base_url, api_key="sk-test", model="scripted")
    heard = []

    def report(event: Event) -> None:
        heard.append(event.stage)
        if event.stage == halt_at and heard.count(event.stage) == nth:
            os.kill(os.getpid(), 9)

    meter = make_meter(llm, paths, "", 400, name)
    # One request at a time: replies come in the order of the questions, so that two runs can be compared.
    run_distillation(paths, config, connector(llm, paths, lambda text: None, 1, meter, 400, None), report)
