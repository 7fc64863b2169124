"""What the page does, for who watches it: each step is counted for Prometheus, a span of OpenTelemetry, a log line.

A request's number is its trace's too, and goes along to the LLM. No text of a question, passage or answer is told.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

_log = logging.getLogger("intermediate_distillation")
_request: ContextVar[str] = ContextVar("request", default="")
_lock = threading.Lock()
_counted: defaultdict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)


def new_request() -> str:
    """The number of a request: 32 hex digits."""
    return uuid.uuid4().hex


def request_number() -> str:
    """The number of the request that is being answered here, "" for none."""
    return _request.get()


@contextmanager
def answering(request: str) -> Iterator[None]:
    """Whatever is done inside, in this thread, is done for `request`."""
    before = _request.set(request)
    try:
        yield
    finally:
        _request.reset(before)


def count(name: str, amount: float = 1, **labels: str) -> None:
    """Adds to a count of Prometheus."""
    with _lock:
        _counted[name, tuple(sorted(labels.items()))] += amount


@contextmanager
def step(name: str, **about: str) -> Iterator[None]:
    """A step of a request, timed; `about` names what it works with, such as the retriever."""
    began, outcome = time.perf_counter(), "done"
    span = _tracer().start_span(name, _parent(), attributes={**about, "request": request_number()})
    try:
        yield
    except GeneratorExit:
        outcome = "stopped"
        raise
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        seconds = time.perf_counter() - began
        span.set_attribute("outcome", outcome)
        span.end()
        count("rag_steps_total", step=name, outcome=outcome)
        count("rag_step_seconds_total", seconds, step=name)
        told = {"step": name, "outcome": outcome, "seconds": round(seconds, 4), **about}
        _log.info("%s %s", name, outcome, extra={"told": told})


def exposition(gauges: Mapping[str, float]) -> str:
    """Everything counted, and `gauges`, as Prometheus reads it."""
    with _lock:
        known = sorted(_counted.items())
    lines = [f"{name}{_labels(labels)} {value:.10g}" for (name, labels), value in known]
    return "\n".join([*lines, *(f"{name} {value:.10g}" for name, value in gauges.items()), ""])


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    return "{" + ",".join(f"{name}={json.dumps(value)}" for name, value in labels) + "}" if labels else ""


class JsonLines(logging.Formatter):
    """A log of one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, with the number of the request that it is about."""
        told: dict[str, Any] = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name}
        told |= {"message": record.getMessage(), "request": request_number(), **getattr(record, "told", {})}
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


@cache
def _tracer() -> Any:
    from opentelemetry import trace

    return trace.get_tracer("intermediate_distillation")


def _parent() -> Any:
    """A trace with the number of the request; no span is current, as a growing answer is continued by any thread."""
    from opentelemetry import trace

    if not request_number():
        return None
    number = int(request_number(), 16)
    told = trace.SpanContext(number, number & 0xFFFFFFFFFFFFFFFF or 1, True, trace.TraceFlags(1))
    return trace.set_span_in_context(trace.NonRecordingSpan(told))


def send_traces() -> None:
    """Sends spans where the standard variables (OTEL_…) say."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
