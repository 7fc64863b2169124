"""Asking through the door of a real endpoint: concurrency, order of completion, failures, the memory for replies."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.messages import HumanMessage
from scripted_endpoint import Message, ScriptedEndpoint

from distill.asking import Asker, ask_all, work_through
from distill.llm import LLMConfig, connect_llm
from distill.reply_cache import ReplyCache
from indexes.errors import LLMRefusedError
from indexes.paths import DataPaths


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda messages: str(messages[-1]["content"]).upper()) as endpoint:
        yield endpoint


def asker(endpoint: ScriptedEndpoint, tmp_path: Path, concurrency: int = 1, cache: ReplyCache | None = None) -> Asker:
    config = LLMConfig(base_url=endpoint.base_url, api_key="sk-secret", model="scripted")
    return Asker(connect_llm(config, DataPaths(tmp_path)), concurrency=concurrency, cache=cache)


def test_each_prompt_gets_its_own_reply(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    prompts = [[HumanMessage(f"word {n}")] for n in range(20)]
    replies = dict(ask_all(asker(endpoint, tmp_path, concurrency=4), prompts))
    assert replies == {n: f"WORD {n}" for n in range(20)}


def test_requests_run_side_by_side_up_to_the_set_number_and_no_more(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def reply(messages: list[Message]) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return "done"

    endpoint.reply = reply
    assert (
        len(list(ask_all(asker(endpoint, tmp_path, concurrency=3), [[HumanMessage(str(n))] for n in range(12)]))) == 12
    )
    assert most == 3


def test_a_job_may_ask_again_depending_on_the_reply(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    async def twice(asker: Asker) -> str:
        return await asker.ask([HumanMessage(await asker.ask([HumanMessage("once")]) + " more")])

    assert dict(work_through(asker(endpoint, tmp_path), [twice])) == {0: "ONCE MORE"}


def test_a_failure_is_its_sentence_after_what_came_before(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    def reply(messages: list[Message]) -> str:
        if messages[-1]["content"] == "2":
            endpoint.fail(401, times=100)
        return "fine"

    endpoint.reply = reply
    came = []
    with pytest.raises(LLMRefusedError, match="rejects the API key"):
        for position, _ in ask_all(asker(endpoint, tmp_path), [[HumanMessage(str(n))] for n in range(9)]):
            came.append(position)
    assert came == [0, 1, 2]
    assert len(endpoint.requests) == 4  # a wrong key is not tried again


def test_a_reader_who_leaves_stops_the_asking(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    for _ in ask_all(asker(endpoint, tmp_path), [[HumanMessage(str(n))] for n in range(50)]):
        break
    time.sleep(0.1)
    assert len(endpoint.requests) <= 3


def test_what_was_replied_is_not_asked_again_by_anyone(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    file = tmp_path / "cache.sqlite"
    prompts = [[HumanMessage("alpha")], [HumanMessage("beta")]]
    assert len(list(ask_all(asker(endpoint, tmp_path, cache=ReplyCache(file)), prompts))) == 2
    second = asker(endpoint, tmp_path, cache=ReplyCache(file))
    assert dict(ask_all(second, [*prompts, [HumanMessage("gamma")]])) == {0: "ALPHA", 1: "BETA", 2: "GAMMA"}
    assert (second.meter.calls, second.meter.cached) == (1, 2)
    assert len(endpoint.requests) == 3


def test_another_model_or_endpoint_is_another_request(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "cache.sqlite")
    list(ask_all(asker(endpoint, tmp_path, cache=cache), [[HumanMessage("alpha")]]))
    with ScriptedEndpoint(lambda messages: "other") as other:
        assert dict(ask_all(asker(other, tmp_path, cache=cache), [[HumanMessage("alpha")]])) == {0: "other"}


def test_a_damaged_memory_is_put_aside_and_said(tmp_path: Path) -> None:
    file = tmp_path / "cache.sqlite"
    file.write_bytes(b"no database at all" * 100)
    said: list[str] = []
    cache = ReplyCache(file, said.append)
    cache.put("key", "reply")
    assert cache.get("key") == "reply"
    assert (tmp_path / "cache.sqlite.damaged").is_file()
    assert "put aside" in said[0]


def test_no_key_of_an_endpoint_is_in_the_memory(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    file = tmp_path / "cache.sqlite"
    list(ask_all(asker(endpoint, tmp_path, cache=ReplyCache(file)), [[HumanMessage("alpha")]]))
    assert not any(b"sk-secret" in each.read_bytes() for each in tmp_path.glob("cache.sqlite*"))
