"""What is told of a question: its steps, under one number from the page to the LLM, and none of its text."""

from __future__ import annotations

import json
import logging

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scripted_endpoint import ScriptedEndpoint
from typer.testing import CliRunner

from app.__main__ import commands, gauges_of
from app.handlers.ask import ask
from app.handlers.buttons import StopFlag
from app.workbench import Workbench
from indexes.observing import JsonLines, exposition


def test_a_question_is_one_trace_from_the_page_to_the_llm(
    bench: Workbench, corpus: str, endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    caplog.set_level(logging.INFO, "intermediate_distillation")
    caplog.handler.setFormatter(JsonLines())
    list(ask(bench, "How do honey bees tell where flowers are?", corpus, None, False, (), StopFlag()))
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    told = {line["step"]: line for line in lines if "step" in line}
    assert {"embed", "retrieve", "llm", "answer"} <= told.keys()
    (number,) = {line["request"] for line in told.values()}
    assert endpoint.requests[-1].headers["x-request-id"] == number
    assert {format(span.context.trace_id, "032x") for span in spans.get_finished_spans() if span.context} == {number}
    assert "honey" not in caplog.text.lower() and "dance" not in caplog.text.lower()
    figures = exposition(gauges_of(bench.paths))
    assert 'rag_steps_total{outcome="done",step="retrieve"}' in figures and "rag_teaching_cost_usd 0" in figures


def test_the_doctor_says_what_is_to_be_mended_and_how(bench: Workbench, corpus: str) -> None:
    from indexes.corpus import Corpus

    (Corpus.open(bench.paths, corpus).folder / "files" / "stray.txt").write_text("?")
    said = CliRunner().invoke(commands, ["doctor"], env={"DATA_DIR": str(bench.paths.root), "ENCODER": "not-there"})
    assert "disk: sound" in said.output
    assert "encoder: " in said.output and "not-there" in said.output
    assert f"corpus '{corpus}': stray file (stray.txt)" in said.output
    assert f"python -m indexes doctor '{corpus}' --repair" in said.output
    assert "to mend; they stand above" in str(said.exception)
