"""A chat model over a scripted endpoint: the fake LLM comes in through HTTP, as any real one would."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from langchain_core.language_models import BaseChatModel
from scripted_endpoint import ScriptedEndpoint
from worth_lesson import ranks_by_worth, write_worths

from distill.llm.connection import LLMConfig, connect_llm
from indexes.paths import DataPaths


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


@pytest.fixture(scope="session")
def worths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `worth_lesson` writes, made once: to be copied."""
    folder = tmp_path_factory.mktemp("worths")
    write_worths(DataPaths(folder / "data"), folder)
    return folder


@pytest.fixture
def worth_questions(paths: DataPaths, tmp_path: Path, worths: Path) -> Path:
    """The questions of `worth_lesson`, its corpus being there."""
    shutil.copytree(worths / "data", paths.root)
    return shutil.copy(worths / "questions.jsonl", tmp_path / "questions.jsonl")
