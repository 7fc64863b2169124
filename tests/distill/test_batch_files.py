"""A batch asks what the run would ask, and what it brings is not asked again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from scripted_endpoint import ScriptedEndpoint

from distill.asking import Asker, ask_all
from distill.batch_files import export_batch, import_batch
from distill.llm import LLMConfig, connect_llm
from distill.reply_cache import ReplyCache
from indexes.errors import InputError
from indexes.paths import DataPaths

PROMPTS: list[list[BaseMessage]] = [[HumanMessage(f"word {n}")] for n in range(5)]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda messages: str(messages[-1]["content"]).upper()) as endpoint:
        yield endpoint


@pytest.fixture
def cache(tmp_path: Path) -> ReplyCache:
    return ReplyCache(tmp_path / "replies.sqlite")


def asker(endpoint: ScriptedEndpoint, cache: ReplyCache) -> Asker:
    config = LLMConfig(base_url=endpoint.base_url, api_key="sk-secret", model="scripted")
    return Asker(connect_llm(config, DataPaths(Path()), max_tokens=9), cache=cache)


def requests(*files: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def answered(request: dict[str, Any], reply: str | None, status: int = 200) -> str:
    body = {"choices": [{"message": {"content": reply}}]} if reply else {"error": {"message": "no luck"}}
    return json.dumps({"custom_id": request["custom_id"], "response": {"status_code": status, "body": body}}) + "\n"


def test_the_batch_asks_exactly_what_the_run_would_have_asked_and_only_once(
    endpoint: ScriptedEndpoint, cache: ReplyCache, tmp_path: Path
) -> None:
    (file,) = export_batch(asker(endpoint, cache).llm, [*PROMPTS, *PROMPTS], cache, tmp_path / "batch.jsonl")
    written = requests(file)
    assert {(each["method"], each["url"]) for each in written} == {("POST", "/v1/chat/completions")}
    assert b"sk-secret" not in file.read_bytes()
    list(ask_all(asker(endpoint, cache), PROMPTS))
    sent = [{name: value for name, value in each.body.items() if name != "stream"} for each in endpoint.requests]
    assert [each["body"] for each in written] == sent
    assert export_batch(asker(endpoint, cache).llm, PROMPTS, cache, tmp_path / "batch.jsonl") == []


def test_a_run_goes_on_from_the_batch_and_asks_only_for_what_failed(
    endpoint: ScriptedEndpoint, cache: ReplyCache, tmp_path: Path
) -> None:
    written = requests(*export_batch(asker(endpoint, cache).llm, PROMPTS, cache, tmp_path / "batch.jsonl"))
    output = tmp_path / "output.jsonl"
    lines = [answered(each, f"from the batch {n}") for n, each in enumerate(written[:4])]
    lines += [answered(written[4], None, 500), "no json\n", json.dumps({"custom_id": "another's", "response": {}})]
    output.write_text("".join(lines))
    replies = import_batch(output, cache)
    assert replies.n_replies == 4
    assert [why.split(":")[0] for why in replies.failed] == ["line 5", "line 6", "line 7"]
    assert "no luck" in replies.failed[0]
    got = dict(ask_all(asker(endpoint, cache), PROMPTS))
    assert got == {n: f"from the batch {n}" for n in range(4)} | {4: "WORD 4"}
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("limit", [{"most_requests": 2}, {"most_bytes": 700}])
def test_too_much_for_one_file_is_split_and_nothing_is_lost(
    limit: dict[str, int], endpoint: ScriptedEndpoint, cache: ReplyCache, tmp_path: Path
) -> None:
    files = export_batch(asker(endpoint, cache).llm, PROMPTS, cache, tmp_path / "batch.jsonl", **limit)
    assert [file.name for file in files] == ["batch.jsonl", "batch-2.jsonl", "batch-3.jsonl"]
    assert [each["body"]["messages"][0]["content"] for each in requests(*files)] == [f"word {n}" for n in range(5)]
    assert all(file.stat().st_size <= 700 for file in files)


def test_a_file_that_is_not_there_is_a_sentence(cache: ReplyCache, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch service"):
        import_batch(tmp_path / "none.jsonl", cache)
