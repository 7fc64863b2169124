"""Asking through the door of a real endpoint: concurrency, order of completion, failures, a budget."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from scripted_endpoint import Message, ScriptedEndpoint

from distill.llm.calls import Asker, ask_all, work_through
from distill.llm.connection import LLMConfig, connect_llm
from distill.llm.spending import Budget, Meter
from indexes.errors import BudgetSpentError, LLMRefusedError
from indexes.paths import DataPaths


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda messages: str(messages[-1]["content"]).upper()) as endpoint:
        yield endpoint


def asker(endpoint: ScriptedEndpoint, tmp_path: Path, concurrency: int = 1, meter: Meter | None = None) -> Asker:
    config = LLMConfig(base_url=endpoint.base_url, api_key="sk-secret", model="scripted")
    return Asker(connect_llm(config, DataPaths(tmp_path)), concurrency=concurrency, meter=meter)


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


def test_an_endpoint_that_says_how_long_to_wait_is_asked_again_then(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.fail(429, retry_after_s=1.2, times=1)
    begin = time.monotonic()
    assert dict(ask_all(asker(endpoint, tmp_path), [[HumanMessage("late")]])) == {0: "LATE"}
    assert time.monotonic() - begin >= 1.2  # its own first wait would be half a second


def test_it_may_be_used_where_a_loop_runs_already(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    async def inside() -> dict[int, str]:
        return dict(ask_all(asker(endpoint, tmp_path), [[HumanMessage("here")]]))

    assert asyncio.run(inside()) == {0: "HERE"}


def test_a_spent_budget_ends_the_asking_after_the_replies_that_it_paid(
    endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    meter = Meter(budget=Budget(amount=100, unit="tokens"), max_reply_tokens=40)
    came = []
    with pytest.raises(BudgetSpentError):
        for position, _ in ask_all(asker(endpoint, tmp_path, meter=meter), [[HumanMessage("word")]] * 99):
            came.append(position)
    assert 0 < len(came) == len(endpoint.requests) == meter.calls


def test_a_spent_budget_waits_for_what_it_has_paid(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    def reply(messages: list[Message]) -> str:
        time.sleep(0.3 if messages[-1]["content"] == "slow" else 0)
        return "done"

    endpoint.reply = reply
    meter = Meter(budget=Budget(amount=110, unit="tokens"), max_reply_tokens=40)
    prompts = [[HumanMessage("slow")], *[[HumanMessage("quick")]] * 9]
    came = []
    with pytest.raises(BudgetSpentError) as spent:
        for position, _ in ask_all(asker(endpoint, tmp_path, concurrency=2, meter=meter), prompts):
            came.append(position)
    assert 0 in came
    assert f"written in {meter.calls} calls" in str(spent.value), "what was under way at the refusal counts too"
    assert len(came) == len(endpoint.requests) == meter.calls


class Held(BaseChatModel):
    """An LLM that replies to a request only when it is told to."""

    came: queue.SimpleQueue[Callable[[], object]]

    @property
    def _llm_type(self) -> str:
        return "held"

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        may_reply = asyncio.Event()
        self.came.put(partial(asyncio.get_running_loop().call_soon_threadsafe, may_reply.set))
        await may_reply.wait()
        return ChatResult(generations=[ChatGeneration(message=AIMessage("done"))])


@pytest.mark.parametrize("turns", [1, 3])
def test_a_reply_makes_room_for_the_next_request_at_once(turns: int) -> None:
    """With several open, whichever ends first: an LLM that waits for the slowest of a group idles, and is paid for."""
    came: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    async def job(asker: Asker) -> None:
        for _ in range(turns):
            await asker.ask([HumanMessage("word")])

    results: list[tuple[int, None]] = []
    working = threading.Thread(
        target=lambda: results.extend(work_through(Asker(Held(came=came), concurrency=3), [job] * 9)), daemon=True
    )
    working.start()
    slow, *quick = [came.get(timeout=5) for _ in range(3)]
    for _ in range(8 * turns - 2):
        quick.pop(0)()
        quick.append(came.get(timeout=5))
        assert came.empty()
    for reply in (slow, *quick):
        reply()
    for _ in range(turns - 1):
        came.get(timeout=5)()
    working.join(timeout=5)
    assert sorted(position for position, _ in results) == list(range(9))
