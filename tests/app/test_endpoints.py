"""The page as programs and many visitors meet it: typed endpoints, and sessions that never mix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
import httpx
import pytest
from browsing import free_port
from gradio_client import Client
from gradio_client.exceptions import AppError
from scripted_endpoint import Message, ScriptedEndpoint

from app.__main__ import launch
from app.handlers import ask
from app.settings import Settings
from app.workbench import Workbench

pytestmark = pytest.mark.slow

N_VISITORS = 20


@pytest.fixture
def page(bench: Workbench, corpus: str) -> Iterator[gr.Blocks]:
    port = free_port()
    opened = launch(bench, Settings(data_dir=bench.paths.root, app_port=port))
    yield opened
    opened.close(verbose=False)


def test_programs_ask_and_compare_by_name(page: gr.Blocks, taught: str) -> None:
    client = Client(page.local_url, verbose=False)
    answer = client.predict(question="Why do honey bees dance?", retriever="fused", api_name="/ask")
    assert (answer["answer"], answer["cited"], answer["retriever"]) == ("Bees dance [1].", [1], "fused(keywords)")
    assert answer["passages"][0]["source"] == "bees.txt"
    found = client.predict("Why do honey bees dance?", "nature", "baseline", "distilled", api_name="/compare")
    assert (found["left"]["retriever"], found["right"]["retriever"], found["n_shared"]) == ("keywords", taught, 4)
    assert found["right"]["moves"][0]["gain"] == 0
    several = client.predict("Why do honey bees dance?", third="lexical", fourth="fused", api_name="/compare")
    assert [several[side]["retriever"] for side in ("left", "right", "third", "fourth")] == [
        "keywords",
        taught,
        "lexical",
        "fused(keywords)",
    ]
    with pytest.raises(AppError, match="same retriever"):
        client.predict("Why?", left="baseline", right="keywords", api_name="/compare")
    for wrong in ({"question": " "}, {"question": "Why?", "corpus": "gone"}, {"question": "Why?", "retriever": "x"}):
        with pytest.raises(AppError, match=r"Type a question|There is no"):
            client.predict(**wrong, api_name="/ask")


def test_twenty_visitors_at_once_get_their_own_answers(
    page: gr.Blocks, bench: Workbench, endpoint: ScriptedEndpoint
) -> None:
    endpoint.reply = _repeat_question
    endpoint.delay_s = 0.01
    with ThreadPoolExecutor(N_VISITORS) as pool:
        seen = list(pool.map(lambda number: _visit(page, number), range(N_VISITORS)))
    for number, text in enumerate(seen):
        assert f"You asked about bee number-{number}-" in text
        others = [other for other in range(N_VISITORS) if other != number and f"number-{other}-" in text]
        assert others == []


def _repeat_question(messages: list[Message]) -> str:
    question = str(messages[-1]["content"]).split("Question: ")[1].split("\n")[0]
    return f"You asked about {question} [1]."


def _visit(page: gr.Blocks, number: int) -> str:
    """All that a visitor's browser is sent while a question is asked on the Ask tab."""
    event = next(n for n, fn in page.fns.items() if getattr(fn.fn, "func", None) is ask.ask)
    session = f"visitor{number}"
    # a picker is checked against what its session was offered; the last two values are the session's own
    data: list[Any] = [f"bee number-{number}-", None, None, False, None, None]
    body = {"data": data, "fn_index": event, "session_hash": session}
    address = f"{page.local_url}gradio_api/queue"
    with httpx.Client(trust_env=False, timeout=120) as http:
        http.post(f"{address}/join", json=body).raise_for_status()
        lines = []
        with http.stream("GET", f"{address}/data", params={"session_hash": session}) as stream:
            for line in stream.iter_lines():
                lines.append(line)
                if line.startswith("data:") and json.loads(line[5:])["msg"] in ("process_completed", "close_stream"):
                    break
    return "\n".join(lines)
