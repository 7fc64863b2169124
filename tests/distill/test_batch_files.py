"""A batch asks what the run would ask, and what it brings is not asked again."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from scripted_endpoint import ScriptedEndpoint

from distill.commands import connect
from distill.llm.calls import Asker, BatchWaitsError, Postponement, ask_all, work_through
from distill.llm.connection import LLMConfig, connect_llm
from distill.llm.embedded import LocalServer, ServerAddress
from distill.llm.reply_cache import ReplyCache, import_batch
from distill.llm.spending import Budget, Meter
from distill.run_config import Asking
from indexes.errors import BudgetSpentError, InputError
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


def requests(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def postponed(endpoint: ScriptedEndpoint, cache: ReplyCache, file: Path, **limit: int) -> list[dict[str, Any]]:
    """The requests for `PROMPTS` in the batch file that waits for its replies."""
    llm = asker(endpoint, cache).llm
    with pytest.raises(BatchWaitsError, match=r"requests.* are in .*batch\.jsonl"):
        list(ask_all(Asker(llm, cache=cache, postponement=Postponement(llm, file, **limit)), [*PROMPTS, *PROMPTS]))
    return requests(file)


def answered(request: dict[str, Any], reply: str | None, status: int = 200, why: str = "no luck") -> str:
    usage = {"prompt_tokens": 10, "completion_tokens": 2}
    body = {"choices": [{"message": {"content": reply}}], "usage": usage} if reply else {"error": {"message": why}}
    return json.dumps({"custom_id": request["custom_id"], "response": {"status_code": status, "body": body}}) + "\n"


def test_the_batch_asks_exactly_what_the_run_would_have_asked_and_only_once(
    endpoint: ScriptedEndpoint, cache: ReplyCache, tmp_path: Path
) -> None:
    file = tmp_path / "batch.jsonl"
    written = postponed(endpoint, cache, file)
    assert {(each["method"], each["url"]) for each in written} == {("POST", "/v1/chat/completions")}
    assert b"sk-secret" not in file.read_bytes()
    list(ask_all(asker(endpoint, cache), PROMPTS))
    sent = [{name: value for name, value in each.body.items() if name != "stream"} for each in endpoint.requests]
    assert [each["body"] for each in written] == sent
    llm = asker(endpoint, cache).llm
    again = Asker(llm, cache=cache, postponement=Postponement(llm, tmp_path / "none.jsonl"))
    assert len(list(ask_all(again, PROMPTS))) == 5 and not (tmp_path / "none.jsonl").exists()


def test_a_run_goes_on_from_the_batch_and_asks_only_for_what_failed(
    endpoint: ScriptedEndpoint, cache: ReplyCache, tmp_path: Path
) -> None:
    written = postponed(endpoint, cache, tmp_path / "batch.jsonl")
    output = tmp_path / "output.jsonl"
    lines = [answered(each, f"from the batch {n}") for n, each in enumerate(written[:4])]
    lines += [answered(written[4], None, 500), "no json\n", json.dumps({"custom_id": "another's", "response": {}})]
    output.write_text("".join(lines))
    said = import_batch(output, cache)
    assert said.startswith("4 replies came (40 tokens read, 8 written).")
    assert "asked again: 3 (line 5: " in said and "no luck; line 6: " in said and "; line 7: " in said
    got = dict(ask_all(asker(endpoint, cache), PROMPTS))
    assert got == {n: f"from the batch {n}" for n in range(4)} | {4: "WORD 4"}
    assert len(endpoint.requests) == 1


def test_what_one_file_may_not_hold_comes_in_the_next(
    endpoint: ScriptedEndpoint, cache: ReplyCache, tmp_path: Path
) -> None:
    file, output = tmp_path / "batch.jsonl", tmp_path / "output.jsonl"
    asked = []
    for n in (2, 2, 1):
        written = postponed(endpoint, cache, file, most_requests=2)
        assert len(written) == n
        asked += [each["body"]["messages"][0]["content"] for each in written]
        output.write_text("".join(answered(each, "x") for each in written))
        import_batch(output, cache)
    assert asked == [f"word {n}" for n in range(5)]


def test_a_file_that_is_not_there_is_a_sentence(cache: ReplyCache, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="batch service"):
        import_batch(tmp_path / "none.jsonl", cache)


def test_what_came_of_a_batch_shows_no_key(endpoint: ScriptedEndpoint, cache: ReplyCache, tmp_path: Path) -> None:
    request, *_ = postponed(endpoint, cache, tmp_path / "batch.jsonl")
    errors = tmp_path / "errors.jsonl"
    errors.write_text(answered(request, None, 401, "Incorrect API key provided: sk-secret-0123456789"))
    said = import_batch(errors, cache)
    assert said.startswith("0 replies came")
    assert "Incorrect API" in said
    assert "0123456789" not in said


@pytest.mark.parametrize("content", ["", "no json", '{"question": "what?"}', '{"custom_id": "x", "method": "POST"}'])
def test_a_file_that_no_batch_service_wrote_is_refused(content: str, cache: ReplyCache, tmp_path: Path) -> None:
    file = tmp_path / "something.jsonl"
    file.write_text(content)
    with pytest.raises(InputError, match="no line of it has a response"):
        import_batch(file, cache)


class Running(LocalServer):
    """An embedded server, as far as a client knows one."""

    def __init__(self) -> None:
        self._at = ServerAddress(base_url="http://127.0.0.1:9/v1", model="scripted", api_key="none")

    def start(self, on_status: Callable[[str], None] = lambda text: None) -> ServerAddress:
        return self._at


def test_the_embedded_llm_takes_no_batches(cache: ReplyCache, tmp_path: Path) -> None:
    llm = connect_llm(LLMConfig(), DataPaths(tmp_path), server=Running())
    with pytest.raises(InputError, match="answered by a provider"):
        Postponement(llm, tmp_path / "batch.jsonl")


async def ask_twice_about(word: str, asker: Asker) -> str:
    first = await asker.ask([HumanMessage(word)])
    return await asker.ask([HumanMessage(f"{first} again")])


def test_a_run_is_postponed_turn_by_turn_and_goes_on_from_the_replies(
    endpoint: ScriptedEndpoint, cache: ReplyCache, tmp_path: Path
) -> None:
    """What asks again depending on a reply waits for the next batch; what needs nothing more gives its result."""
    file, output = tmp_path / "run" / "batch.jsonl", tmp_path / "output.jsonl"
    llm = asker(endpoint, cache).llm
    jobs: list[Callable[[Asker], Any]] = [partial(ask_twice_about, "a"), partial(ask_twice_about, "b")]

    def postponed() -> tuple[dict[int, str], list[str]]:
        results = {}
        with pytest.raises(BatchWaitsError, match=r"2 requests are in .*batch\.jsonl"):
            for position, reply in work_through(Asker(llm, cache=cache, postponement=Postponement(llm, file)), jobs):
                results[position] = reply
        return results, [each["body"]["messages"][0]["content"] for each in requests(file)]

    assert postponed() == ({}, ["a", "b"])
    output.write_text("".join(answered(each, "x") for each in requests(file)))
    import_batch(output, cache)
    jobs.append(partial(ask_twice_about, "c"))
    assert postponed() == ({}, ["x again", "c"])
    output.write_text(answered(requests(file)[0], "y"))
    import_batch(output, cache)
    jobs.append(partial(ask_twice_about, "d"))
    assert postponed() == ({0: "y", 1: "y"}, ["c", "d"])
    assert endpoint.requests == []


def test_a_batch_does_not_pass_the_budget_either(endpoint: ScriptedEndpoint, cache: ReplyCache, tmp_path: Path) -> None:
    llm, file = asker(endpoint, cache).llm, tmp_path / "batch.jsonl"
    meter = Meter(budget=Budget(amount=50, unit="tokens"), max_reply_tokens=9)
    postponing = Asker(llm, cache=cache, meter=meter, postponement=Postponement(llm, file))
    with pytest.raises(BudgetSpentError):
        list(ask_all(postponing, PROMPTS))
    assert not file.exists()


def connected(config: LLMConfig, folder: Path, batch_file: Path) -> Asker:
    asking = Asking(concurrency=1, reply_tokens=100)
    return connect(config, DataPaths(folder), lambda text: None, asking, Meter(), batch_file, 0.0)


def test_a_batch_is_written_where_nothing_can_be_reached(tmp_path: Path) -> None:
    config = LLMConfig(base_url="http://127.0.0.1:9/v1", api_key="sk-secret", model="far-away")
    file = tmp_path / "batch.jsonl"
    with pytest.raises(BatchWaitsError, match="5 requests"):
        list(ask_all(connected(config, tmp_path, file), PROMPTS))
    assert {each["body"]["model"] for each in requests(file)} == {"far-away"}


def test_a_batch_for_a_model_that_nothing_names_says_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Set LLM_MODEL"):
        connected(LLMConfig(base_url="http://127.0.0.1:9/v1"), tmp_path, tmp_path / "batch.jsonl")


def test_no_embedded_llm_is_fetched_for_a_batch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="answered by a provider"):
        connected(LLMConfig(), tmp_path, tmp_path / "batch.jsonl")
    assert not (tmp_path / "models").exists()
