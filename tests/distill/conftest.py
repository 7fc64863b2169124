"""A chat model over a scripted endpoint: the fake LLM comes in through HTTP, as any real one would."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from langchain_core.language_models import BaseChatModel
from scripted_endpoint import Message, ScriptedEndpoint
from worth_lesson import ranks_by_worth, write_worths

from distill.llm.connection import LLMConfig, connect_llm
from indexes.paths import DataPaths


def shown_passages(messages: Sequence[Message]) -> list[str]:
    """The numbered passages of a prompt, in order."""
    prompt = str(messages[-1]["content"])
    body = re.split(r"\n\nQuestion: ", prompt)[0]
    return [text.strip() for text in re.split(r"\n\n\[\d+\] ", body)[1:]]


def asked_question(messages: Sequence[Message]) -> str:
    """The question that a ranking prompt is about."""
    found = re.search(r"\n\nQuestion: (.*?)\n\n", str(messages[-1]["content"]), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as running:
        yield running


@pytest.fixture
def connect(endpoint: ScriptedEndpoint, paths: DataPaths) -> Callable[[], BaseChatModel]:
    return lambda: connect_llm(LLMConfig(base_url=endpoint.base_url, api_key="sk-test"), paths)


@pytest.fixture
def llm(connect: Callable[[], BaseChatModel]) -> BaseChatModel:
    return connect()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread: threads that wait for each other in tiny models stall on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def ranking_endpoint() -> Iterator[ScriptedEndpoint]:
    """The scripted LLM of `worth_lesson`, which puts first what is worth most."""
    with ScriptedEndpoint(ranks_by_worth) as running:
        yield running


@pytest.fixture
def worth_questions(paths: DataPaths, tmp_path: Path) -> Path:
    """The questions of `worth_lesson`, its corpus being there."""
    return write_worths(paths, tmp_path)
