"""Endpoints over real HTTP: what works, and the sentence for everything that does not."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from langchain_core.language_models import BaseChatModel
from scripted_endpoint import ScriptedEndpoint

from distill.llm.calls import Asker
from distill.llm.connection import (
    DEFAULT_OPENAI_MODEL,
    MAX_RETRIES,
    OPENAI_URL,
    PATIENT_RETRIES,
    LLMConfig,
    as_user_error,
    connect_llm,
    llm_errors,
)
from indexes.errors import LLMRefusedError, LLMUnavailableError, UserError
from indexes.paths import DataPaths

KEY = "sk-test-0123456789abcdefghij"


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda messages: f"You said: {messages[-1]['content']}", api_key=KEY) as server:
        yield server


@pytest.fixture
def llm(endpoint: ScriptedEndpoint, paths: DataPaths) -> BaseChatModel:
    return connect_llm(LLMConfig(base_url=endpoint.base_url, api_key=KEY, model="scripted"), paths, timeout_s=5)


def sentence_of(call: Callable[[], object]) -> UserError:
    with pytest.raises(UserError) as caught, llm_errors():
        call()
    return caught.value


def test_an_endpoint_answers_whole_streamed_and_in_batches(llm: BaseChatModel) -> None:
    assert llm.invoke("one  two").content == "You said: one  two"
    streamed = [str(chunk.content) for chunk in llm.stream("three\nfour")]
    assert "".join(streamed) == "You said: three\nfour"
    assert len([piece for piece in streamed if piece]) == 4
    assert [reply.content for reply in asyncio.run(llm.abatch(["a", "b"]))] == ["You said: a", "You said: b"]


def test_requests_carry_key_model_and_temperature_zero(endpoint: ScriptedEndpoint, llm: BaseChatModel) -> None:
    llm.invoke("hello")
    request = endpoint.requests[-1]
    assert request.key == KEY
    assert request.body["model"] == "scripted"
    assert request.body["temperature"] == 0


def test_a_teacher_known_by_its_address_alone_is_named_without_its_password() -> None:
    """The name stands in reports and on model cards, which are shared."""
    assert LLMConfig(base_url="https://me:secret@llm.example/v1?key=abc").name == "https://llm.example/v1"


def test_a_limit_on_reply_tokens_is_sent(endpoint: ScriptedEndpoint, paths: DataPaths) -> None:
    config = LLMConfig(base_url=endpoint.base_url, api_key=KEY, model="scripted")
    connect_llm(config, paths, max_tokens=77, temperature=0.5).invoke("hello")
    assert endpoint.requests[-1].body["max_tokens"] == 77
    assert endpoint.requests[-1].body["temperature"] == 0.5


def test_the_only_model_of_an_endpoint_is_taken(paths: DataPaths) -> None:
    with ScriptedEndpoint(models=["the-only-one"]) as server:
        connect_llm(LLMConfig(base_url=server.base_url), paths).invoke("hello")
        assert server.requests[-1].body["model"] == "the-only-one"


@pytest.mark.parametrize("models", [["first", "second"], []])
def test_an_endpoint_without_exactly_one_model_asks_for_llm_model(models: list[str], paths: DataPaths) -> None:
    with ScriptedEndpoint(models=models) as server:
        error = sentence_of(lambda: connect_llm(LLMConfig(base_url=server.base_url), paths))
    assert isinstance(error, LLMRefusedError)
    assert "LLM_MODEL" in str(error)
    assert all(name in str(error) for name in models)


def test_a_key_alone_means_openai_with_the_default_model(paths: DataPaths) -> None:
    llm = connect_llm(LLMConfig(api_key=KEY), paths)
    assert (getattr(llm, "openai_api_base", None), getattr(llm, "model_name", None)) == (
        OPENAI_URL,
        DEFAULT_OPENAI_MODEL,
    )


def test_only_an_empty_config_is_embedded() -> None:
    assert LLMConfig().is_embedded
    assert LLMConfig(base_url="", api_key="", model="x").is_embedded
    assert not LLMConfig(base_url="http://localhost:1/v1").is_embedded
    assert not LLMConfig(api_key=KEY).is_embedded


def test_a_key_of_the_environment_never_goes_to_an_endpoint_configured_without_one(
    paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client library would send OPENAI_API_KEY to whatever address it is given."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with ScriptedEndpoint() as server:
        connect_llm(LLMConfig(base_url=server.base_url), paths).invoke("hello")
        assert server.requests[-1].key == "none"


@pytest.mark.parametrize(
    ("status", "message", "kind", "remedy"),
    [
        (401, f"Incorrect API key provided: {KEY}", LLMRefusedError, "OPENAI_API_KEY"),
        (403, f"Key {KEY} has no access", LLMRefusedError, "Use a key with access"),
        (404, "The model `scripted` does not exist", LLMRefusedError, "LLM_MODEL"),
        (400, f"Unsupported parameter for {KEY}", LLMRefusedError, "LLM_MODEL"),
        (400, "request (9000 tokens) exceeds the available context size", LLMRefusedError, "Use fewer passages"),
        (400, "context_length_exceeded", LLMRefusedError, "Use fewer passages"),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", LLMRefusedError, "Use fewer passages"),
        (400, "maximum prompt length is 8192 but the request contains 9001 tokens", LLMRefusedError, "Use fewer"),
        (413, "Please reduce the length of the messages: 9001 tokens", LLMRefusedError, "Use fewer passages"),
        (400, "max_tokens of this request is too large: at most 4096 tokens", LLMRefusedError, "LLM_MODEL"),
        (400, "The input token count (9) exceeds the maximum number of tokens allowed", LLMRefusedError, "Use fewer"),
        (422, "`inputs` tokens + `max_new_tokens` must be at most 4096", LLMRefusedError, "Use fewer passages"),
        (429, f"Rate limit reached for {KEY}", LLMUnavailableError, "Wait a minute"),
        (429, "You exceeded your current quota", LLMRefusedError, "Add credit"),
        (500, f"boom at {KEY}", LLMUnavailableError, "Try again"),
        (503, "<html><body>Bad gateway</body></html>", LLMUnavailableError, "Try again"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal_is_a_sentence_with_a_remedy_and_without_the_key(
    status: int,
    message: str,
    kind: type[UserError],
    remedy: str,
    streamed: bool,
    endpoint: ScriptedEndpoint,
    llm: BaseChatModel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    endpoint.fail(status, message, retry_after_s=0.01)
    with caplog.at_level(logging.DEBUG):
        error = sentence_of(lambda: list(llm.stream("hello")) if streamed else llm.invoke("hello"))
    assert type(error) is kind
    assert remedy in str(error)
    assert "<" not in str(error)
    assert KEY not in "".join(traceback.format_exception(error)) + caplog.text


def test_a_wrong_key_is_refused_at_once(endpoint: ScriptedEndpoint, paths: DataPaths) -> None:
    wrong = "sk-wrong-9876543210"
    llm = connect_llm(LLMConfig(base_url=endpoint.base_url, api_key=wrong, model="scripted"), paths)
    error = sentence_of(lambda: Asker(llm).check())
    assert isinstance(error, LLMRefusedError)
    assert wrong not in str(error)
    assert len(endpoint.requests) == 1


def test_a_wrong_key_is_refused_while_the_model_is_looked_up(endpoint: ScriptedEndpoint, paths: DataPaths) -> None:
    error = sentence_of(lambda: connect_llm(LLMConfig(base_url=endpoint.base_url, api_key="sk-wrong-98765"), paths))
    assert isinstance(error, LLMRefusedError)
    assert "OPENAI_API_KEY" in str(error)


def test_a_passing_failure_is_retried(endpoint: ScriptedEndpoint, llm: BaseChatModel) -> None:
    endpoint.fail(429, retry_after_s=0.01, times=1)
    endpoint.fail(500, retry_after_s=0.01, times=1)
    assert llm.invoke("hello").content == "You said: hello"
    assert len(endpoint.requests) == 3


def test_a_wait_of_minutes_is_said_and_not_tried_against(endpoint: ScriptedEndpoint, llm: BaseChatModel) -> None:
    endpoint.fail(429, "slow down", retry_after_s=600)
    assert "Wait 10 minutes, as it asks" in str(sentence_of(lambda: llm.invoke("hello")))
    assert len(endpoint.requests) == 1


def test_retries_are_bounded(endpoint: ScriptedEndpoint, llm: BaseChatModel) -> None:
    endpoint.fail(503, retry_after_s=0.01)
    sentence_of(lambda: llm.invoke("hello"))
    assert len(endpoint.requests) == 1 + MAX_RETRIES


def test_work_that_nobody_waits_for_is_more_patient(endpoint: ScriptedEndpoint, paths: DataPaths) -> None:
    config = LLMConfig(base_url=endpoint.base_url, api_key=KEY, model="scripted")
    endpoint.fail(429, retry_after_s=0.01, times=PATIENT_RETRIES)
    assert connect_llm(config, paths, max_retries=PATIENT_RETRIES).invoke("hello").content == "You said: hello"
    assert len(endpoint.requests) == 1 + PATIENT_RETRIES


def test_a_stream_that_breaks_is_no_complete_answer(endpoint: ScriptedEndpoint, llm: BaseChatModel) -> None:
    endpoint.break_streams(after_words=2)
    pieces: list[str] = []
    error = sentence_of(lambda: pieces.extend(str(chunk.content) for chunk in llm.stream("one two three")))
    assert isinstance(error, LLMUnavailableError)
    assert "broke off" in str(error)
    assert "".join(pieces) == "You said:"


def test_an_endpoint_that_never_answers_is_given_up(endpoint: ScriptedEndpoint, paths: DataPaths) -> None:
    config = LLMConfig(base_url=endpoint.base_url, api_key=KEY, model="scripted")
    llm = connect_llm(config, paths, timeout_s=0.1)
    endpoint.stall()
    error = sentence_of(lambda: llm.invoke("hello"))
    assert isinstance(error, LLMUnavailableError)
    assert "in time" in str(error)


def test_an_unreachable_endpoint_is_named_without_its_password(paths: DataPaths) -> None:
    with ScriptedEndpoint() as server:
        gone = server.base_url
    config = LLMConfig(base_url=gone.replace("//", "//user:secret-word@"), api_key=KEY, model="any")
    error = sentence_of(lambda: Asker(connect_llm(config, paths)).check())
    assert isinstance(error, LLMUnavailableError)
    assert gone in str(error)
    assert "secret-word" not in str(error)


@pytest.mark.parametrize("address", ["localhost:8000/v1", "not an address", "ftp://host/v1", "user:pass-word@host/v1"])
def test_half_an_address_is_refused_with_an_example(address: str, paths: DataPaths) -> None:
    error = sentence_of(lambda: connect_llm(LLMConfig(base_url=address, model="any"), paths))
    assert isinstance(error, LLMRefusedError)
    assert "http://localhost:8000/v1" in str(error)
    assert "pass-word" not in str(error)


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-ключ-0123456789", "sk 0123456789"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(key: str, paths: DataPaths) -> None:
    """The HTTP client would quote the whole header in its own error."""
    error = sentence_of(lambda: connect_llm(LLMConfig(api_key=key), paths))
    assert isinstance(error, LLMRefusedError)
    assert not set(key.split()) & set(str(error).split())


def test_an_address_that_serves_something_else_is_told_apart(paths: DataPaths) -> None:
    with ScriptedEndpoint(models=["any"]) as server:
        llm = connect_llm(LLMConfig(base_url=server.base_url.removesuffix("/v1") + "/wrong", model="other"), paths)
        error = sentence_of(lambda: llm.invoke("hello"))
    assert isinstance(error, LLMRefusedError)
    assert "OPENAI_BASE_URL" in str(error)


def test_neither_config_nor_model_shows_the_key(endpoint: ScriptedEndpoint, llm: BaseChatModel) -> None:
    config = LLMConfig(base_url=endpoint.base_url, api_key=KEY)
    assert KEY not in f"{config!r} {config} {llm!r} {llm}"


def test_errors_of_other_kinds_pass_through() -> None:
    defect = KeyError("ours")
    assert as_user_error(defect) is None
    with pytest.raises(KeyError) as caught, llm_errors():
        raise defect
    assert caught.value is defect


def test_an_own_gguf_that_does_not_exist_is_named(paths: DataPaths, tmp_path: Path) -> None:
    error = sentence_of(lambda: connect_llm(LLMConfig(local_llm=str(tmp_path / "none.gguf")), paths))
    assert "none.gguf" in str(error)
    assert "LOCAL_LLM" in str(error)
