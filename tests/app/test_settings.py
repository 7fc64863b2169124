"""Settings come from the environment, and a bad one gives a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint

from app.settings import Settings, read_settings
from distill.commands import llm_config
from distill.llm.connection import connect_llm
from indexes.commands import open_paths
from indexes.encoders.loading import load_encoder
from indexes.errors import InputError
from indexes.paths import DataPaths

NAMES = [*(name.upper() for name in Settings.model_fields), "EMBEDDINGS_BASE_URL", "EMBEDDINGS_API_KEY"]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_defaults_are_the_documented_ones() -> None:
    settings = read_settings()
    assert (settings.app_host, settings.app_port, settings.data_dir) == ("127.0.0.1", 7860, Path("data"))
    assert (settings.local_llm, settings.encoder) == ("qwen-1.5b", "all-MiniLM-L6-v2")
    assert settings.llm.is_embedded


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_a_key_or_an_address_means_an_endpoint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://localhost:8000/v1")
    assert not read_settings().llm.is_embedded


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")
    assert read_settings() == Settings()
    assert read_settings().llm.is_embedded


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("APP_PORT", "0"),
        ("APP_PORT", "70000"),
        ("APP_PORT", "http"),
        ("APP_MAX_UPLOAD_MB", "-1"),
        ("APP_DEMO", "perhaps"),
        ("OPENAI_BASE_URL", "localhost:8000"),
    ],
)
def test_a_bad_value_gives_a_sentence_with_name_and_value(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        read_settings()
    assert name in str(caught.value)
    assert value in str(caught.value)
    assert "validation" not in str(caught.value)


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert "sk-very-secret" not in repr(read_settings()) + str(read_settings())


@pytest.mark.parametrize("own_key", ["sk-embeddings", ""])
def test_chat_and_embeddings_live_at_two_addresses_and_neither_sees_the_other_ones_key(
    own_key: str, paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedEndpoint() as chat, ScriptedEndpoint() as embeddings:
        monkeypatch.setenv("OPENAI_BASE_URL", chat.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-chat")
        monkeypatch.setenv("EMBEDDINGS_BASE_URL", embeddings.base_url)
        monkeypatch.setenv("EMBEDDINGS_API_KEY", own_key)
        settings, here = read_settings(), open_paths(paths.root)
        load_encoder("openai:scripted", here).encode_queries(["why?"])
        connect_llm(replace(llm_config(), model="scripted"), paths).invoke("hello")
        assert (chat.keys, embeddings.keys) == ({"sk-chat"}, {own_key or "none"})
        monkeypatch.delenv("EMBEDDINGS_BASE_URL")
        at = open_paths(paths.root).embeddings
        assert (at.base_url, at.api_key) == (chat.base_url, own_key or "sk-chat")
    assert "sk-" not in repr(settings) + repr(here) + repr(at)
    monkeypatch.setenv("EMBEDDINGS_API_KEY", "sk-se cret")
    with pytest.raises(InputError, match="key of the embeddings") as said:
        open_paths(paths.root)
    assert "sk-se" not in str(said.value)


@pytest.mark.parametrize(
    ("variables", "endpoints"),
    [
        ({}, (None, "")),
        ({"APP_HOST": "192.168.1.5"}, ((), None)),
        ({"APP_HOSTS": "rag.example.org"}, ((), None)),
        ({"APP_AUTH": "any"}, ((), "")),
        ({"APP_ENDPOINTS": "https://a/v1, http://b:1/v1"}, (("https://a/v1", "http://b:1/v1"), "")),
        ({"APP_ENDPOINTS": "none"}, ((), "")),
    ],
)
def test_addresses_are_free_to_name_only_where_nobody_else_visits(
    variables: dict[str, str], endpoints: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (read_settings().endpoints, read_settings().operator) == endpoints
