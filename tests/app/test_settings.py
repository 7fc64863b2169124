"""Settings come from the environment, and a bad one gives a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.settings import Settings, read_settings
from indexes.errors import InputError

NAMES = [name.upper() for name in Settings.model_fields]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_defaults_are_the_documented_ones() -> None:
    settings = read_settings()
    assert (settings.app_host, settings.app_port, settings.data_dir) == ("127.0.0.1", 7860, Path("data"))
    assert (settings.local_llm, settings.encoder) == ("qwen-1.5b", "all-MiniLM-L6-v2")
    assert not settings.uses_endpoint


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_a_key_or_an_address_means_an_endpoint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://localhost:8000/v1")
    assert read_settings().uses_endpoint


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")
    assert read_settings() == Settings()
    assert not read_settings().uses_endpoint


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
