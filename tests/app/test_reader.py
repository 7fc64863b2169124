"""Which LLM answers and teaches: the one of the start, or one that is chosen on the page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
from scripted_endpoint import ScriptedEndpoint

from app.handlers.buttons import LLMView, choose_llm
from app.workbench import Reader, Workbench
from distill.llm.connection import LLMConfig
from indexes.errors import InputError
from indexes.paths import DataPaths

KEY = "sk-typed-on-the-page"


@pytest.fixture
def other() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda messages: "OK") as other:
        yield other


def choose(bench: Workbench, kind: str, url: str = "", key: str = KEY, who: str | None = None) -> LLMView:
    *_, last = choose_llm(bench, kind, url, "scripted", key, who)
    return last


def test_what_was_chosen_answers_with_its_own_key_and_neither_is_on_disk(
    bench: Workbench, endpoint: ScriptedEndpoint, other: ScriptedEndpoint
) -> None:
    bench = replace(bench, operator="")
    chosen = choose(bench, "endpoint", other.base_url)
    assert ("answers and teaches" in chosen.said, chosen.key) == (True, ""), chosen.said
    assert chosen.box["label"] == f"LLM: {bench.reader.name}" and bench.reader.name.startswith("scripted at 127.0.0.1")
    assert chosen.teacher["value"] == "page"
    bench.reader.connect(lambda status: None).invoke("Why?")
    assert [request.key for request in other.requests] == [KEY, KEY]
    assert not endpoint.requests
    assert KEY not in repr(bench.llm) + str(chosen)
    assert not any(KEY.encode() in file.read_bytes() for file in bench.paths.root.rglob("*") if file.is_file())
    choose(bench, "endpoint", other.base_url, key="")
    assert other.requests[-1].key != "a-key", "the page's key is sent where somebody typed an address"
    choose(bench, "first")
    bench.reader.connect(lambda status: None).invoke("Why?")
    assert [request.key for request in endpoint.requests] == ["a-key"]


def test_one_that_does_not_answer_is_not_taken(bench: Workbench, other: ScriptedEndpoint) -> None:
    bench, before = replace(bench, operator=""), bench.llm
    other.fail(401)
    said = choose(bench, "endpoint", other.base_url).said
    assert 'role="alert"' in said and KEY not in said
    assert bench.llm == before


@pytest.mark.parametrize(
    ("operator", "who", "is_taken"),
    [("", None, True), ("ann", "ann", True), ("ann", "bob", False), (None, None, False)],
)
def test_only_who_runs_the_page_chooses(
    bench: Workbench, operator: str | None, who: str | None, is_taken: bool
) -> None:
    said = choose(replace(bench, operator=operator), "embedded", who=who).said
    assert (bench.llm.is_embedded, "Only whoever runs" in said) == (is_taken, not is_taken)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://llm.example/v1", ""),
        ("https://llm.example/v1/deeper", ""),
        ("https://llm.example/v1evil", "does not ask"),
        ("https://llm.example.evil/v1", "does not ask"),
        ("http://llm.example/v1", "does not ask"),
        ("http://169.254.169.254/latest", "does not ask"),
        ("http://localhost:8000/v1", "APP_ENDPOINTS=http://localhost:8000/v1"),
        ("file:///etc/passwd", "has to be whole"),
        ("https://key@llm.example/v1", "has to be whole"),
        ("https://[", "has to be whole"),
    ],
)
def test_where_others_visit_only_named_addresses_are_asked(paths: DataPaths, url: str, sentence: str) -> None:
    reader = Reader(LLMConfig(), paths, endpoints=["https://llm.example/v1"])
    with nullcontext() if not sentence else pytest.raises(InputError, match=sentence):
        reader._endpoint_at(url, "m", "")
