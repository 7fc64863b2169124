"""Ask and Compare as tools of an MCP server, asked by a real MCP client over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from browsing import free_port
from gradio_client import Client

from app.__main__ import launch
from app.settings import Settings
from app.workbench import Workbench

pytest.importorskip("mcp", reason="the extra mcp is not installed: pip install '.[mcp]'")

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

pytestmark = pytest.mark.slow


@pytest.fixture
def address(bench: Workbench, taught: str) -> Iterator[str]:
    """Where the tools of a page over a small corpus are offered."""
    port = free_port()
    page = launch(bench, Settings(data_dir=bench.paths.root, app_port=port, app_mcp=True))
    yield f"http://127.0.0.1:{port}/gradio_api/mcp/"
    page.close(verbose=False)


def visit(address: str, act: Callable[[ClientSession], Awaitable[Any]]) -> Any:
    """What `act` gets from one session of an MCP client."""

    async def session() -> Any:
        async with (
            streamablehttp_client(address) as (read, write, _),
            ClientSession(read, write) as client,
        ):
            await client.initialize()
            return await act(client)

    return asyncio.run(session())


def test_an_mcp_client_finds_two_tools_and_is_answered(address: str, taught: str) -> None:
    async def act(client: ClientSession) -> Any:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        asked = await client.call_tool("ask", {"question": "Why do honey bees dance?", "retriever": "fused"})
        pair = {"question": "Why do honey bees dance?", "left": "baseline", "right": "distilled", "answers": True}
        compared = await client.call_tool("compare", pair)
        wrong = await client.call_tool("ask", {"question": "Why?", "corpus": "gone"})
        return tools, asked, compared, wrong

    tools, asked, compared, wrong = visit(address, act)
    assert set(tools) == {"ask", "compare"}
    assert "Answer a question" in tools["ask"].description
    for tool in tools.values():
        assert tool.inputSchema["required"] == ["question"]
        for field in tool.inputSchema["properties"].values():
            assert field["type"] in ("string", "boolean")
            assert field["description"].endswith(".")
    answer = value_of(asked)
    assert (answer["answer"], answer["cited"], answer["retriever"]) == ("Bees dance [1].", [1], "fused(keywords)")
    assert {"bees.txt", "tides.txt"} < {passage["source"] for passage in answer["passages"]}
    assert answer["passages"][0]["text"] == "Honey bees dance to tell the hive where flowers grow."
    found = value_of(compared)
    assert (found["left"]["retriever"], found["right"]["retriever"]) == ("keywords", taught)
    assert found["right"]["answer"] == "Bees dance [1]."
    assert found["left"]["passages"][0]["source"] == "bees.txt"
    assert wrong.isError
    assert "There is no corpus 'gone' (there are: 'nature')" in wrong.content[0].text
    # Other programs get values, and no texts.
    other = Client(address.partition("gradio_api")[0], verbose=False)
    assert other.predict("Why do honey bees dance?", api_name="/ask")["passages"][0]["source"] == "bees.txt"
    assert other.predict("Why do honey bees dance?", api_name="/compare")["right"]["retriever"] == taught


def value_of(result: Any) -> dict[str, Any]:
    """The value of a reply, which is one text of JSON."""
    assert not result.isError, result.content
    (content,) = result.content
    value = json.loads(content.text)
    assert isinstance(value, dict)
    return value
