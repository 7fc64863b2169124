"""What was paid for once is kept: by the exact request, for every process, and over damage."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from scripted_endpoint import ScriptedEndpoint

from distill.llm.calls import Asker, ask_all
from distill.llm.connection import LLMConfig, connect_llm
from distill.llm.embedded import LocalServer, ServerAddress
from distill.llm.reply_cache import ReplyCache, request_key
from indexes.errors import LLMError, StoreError
from indexes.paths import DataPaths

ALPHA = [HumanMessage("alpha")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "memory" / "replies.sqlite"


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda messages: str(messages[-1]["content"]).upper()) as endpoint:
        yield endpoint


def asker(endpoint: ScriptedEndpoint, cache: ReplyCache, temperature: float = 0.0) -> Asker:
    config = LLMConfig(base_url=endpoint.base_url, api_key="sk-secret", model="scripted")
    return Asker(connect_llm(config, DataPaths(Path()), temperature=temperature), cache=cache)


def test_what_was_replied_is_not_asked_again_and_is_no_call(endpoint: ScriptedEndpoint, file: Path) -> None:
    prompts = [ALPHA, [HumanMessage("beta")]]
    assert len(list(ask_all(asker(endpoint, ReplyCache(file)), prompts))) == 2
    second = asker(endpoint, ReplyCache(file))
    assert dict(ask_all(second, [*prompts, [HumanMessage("gamma")]])) == {0: "ALPHA", 1: "BETA", 2: "GAMMA"}
    assert (second.meter.calls, second.meter.cached, len(endpoint.requests)) == (1, 2, 3)


def test_a_failure_is_not_remembered(endpoint: ScriptedEndpoint, file: Path) -> None:
    cache = ReplyCache(file)
    endpoint.fail(400, times=1)
    [(_, failed)] = ask_all(asker(endpoint, cache), [ALPHA])
    assert isinstance(failed, LLMError)
    assert dict(ask_all(asker(endpoint, cache), [ALPHA])) == {0: "ALPHA"}


def test_another_endpoint_temperature_role_or_turn_is_another_request(endpoint: ScriptedEndpoint, file: Path) -> None:
    cache = ReplyCache(file)
    llm, warm = asker(endpoint, cache).llm, asker(endpoint, cache, temperature=1.0).llm
    requests: list[list[BaseMessage]] = [
        [*ALPHA],
        [SystemMessage("alpha")],
        [*ALPHA, *ALPHA],
        [*ALPHA, AIMessage("so"), *ALPHA],
    ]
    keys = [request_key(llm, messages) for messages in requests] + [request_key(warm, ALPHA)]
    with ScriptedEndpoint() as other:
        keys.append(request_key(asker(other, cache).llm, ALPHA))
    assert len(set(keys)) == 6
    assert request_key(asker(endpoint, cache).llm, ALPHA) == keys[0]


def test_how_stubbornly_is_asked_makes_no_other_request(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    config = LLMConfig(base_url=endpoint.base_url, model="scripted")
    llms = [connect_llm(config, DataPaths(tmp_path), max_retries=n) for n in (2, 11)]
    assert len({request_key(llm, ALPHA) for llm in llms}) == 1


class Restarted(LocalServer):
    """An embedded server that came up at some port or other."""

    def __init__(self, base_url: str, key: str) -> None:
        self._at = ServerAddress(base_url=base_url, model="scripted", api_key=key)

    def start(self, on_status: Callable[[str], None] = lambda text: None) -> ServerAddress:
        return self._at


def test_the_embedded_llm_is_the_same_after_it_started_at_another_port(file: Path, tmp_path: Path) -> None:
    keys = set()
    for port in (8001, 8002):
        server = Restarted(f"http://127.0.0.1:{port}/v1", f"key-{port}")
        keys.add(request_key(connect_llm(LLMConfig(), DataPaths(tmp_path), server=server), ALPHA))
    assert len(keys) == 1


def test_replies_that_earlier_versions_paid_for_are_found(tmp_path: Path) -> None:
    """Keys are written into people's files: whoever changes one of these has everybody pay again."""
    said = [SystemMessage("s"), HumanMessage("ä")]
    server = Restarted("http://127.0.0.1:8001/v1", "key")
    for config, at, key in [
        (LLMConfig(base_url="http://127.0.0.1:9/v1", api_key="k", model="scripted"), None, "9f2c04b22662412428b81783"),
        (LLMConfig(api_key="k"), None, "b20b6e5907b1ad812a4205ba"),
        (LLMConfig(), server, "df8d9ece70270d0108c1a951"),
    ]:
        assert request_key(connect_llm(config, DataPaths(tmp_path), server=at, max_tokens=400), said).startswith(key)


def test_no_key_of_an_endpoint_is_in_the_memory(endpoint: ScriptedEndpoint, file: Path) -> None:
    list(ask_all(asker(endpoint, ReplyCache(file)), [ALPHA]))
    written = [each.read_bytes() for each in file.parent.iterdir()]
    assert any(b"ALPHA" in each for each in written)
    assert not any(b"sk-secret" in each for each in written)


def test_several_may_write_at_once(file: Path) -> None:
    def write(n: int) -> None:
        cache = ReplyCache(file)
        for m in range(20):
            cache.put(f"{n} {m}", f"reply {n} {m}")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    cache = ReplyCache(file)
    assert all(cache.get(f"{n} {m}") == f"reply {n} {m}" for n in range(4) for m in range(20))


def test_a_file_that_is_none_of_ours_is_put_aside_and_said(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"no database at all" * 100)
    said: list[str] = []
    cache = ReplyCache(file, said.append)
    cache.put("key", "reply")
    assert cache.get("key") == "reply"
    assert file.with_name(file.name + ".damaged").is_file()
    assert "put aside" in said[0]


def test_damage_that_shows_only_on_reading_is_put_aside_too(file: Path) -> None:
    cache = ReplyCache(file)
    for n in range(200):
        cache.put(str(n), "reply " * 50)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    del cache
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    said: list[str] = []
    cache = ReplyCache(file, said.append)
    assert cache.get("3") is None
    cache.put("3", "again")
    assert cache.get("3") == "again"
    assert len(said) == 1


def test_a_whole_file_that_another_program_holds_is_never_put_aside(file: Path) -> None:
    file.parent.mkdir()
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("CREATE TABLE replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
    holder.execute("INSERT INTO replies VALUES ('key', 'paid for')")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match=r"locked.*another program"):
        ReplyCache(file, busy_timeout_s=0.1)
    holder.close()
    assert ReplyCache(file).get("key") == "paid for"


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match="DATA_DIR"):
        ReplyCache(tmp_path / "taken" / "replies.sqlite")
