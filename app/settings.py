"""The settings of the page, read from the environment, and what is checked before it opens."""

from __future__ import annotations

import ipaddress
import re
import socket
from importlib.util import find_spec
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from distill.llm.connection import LLMConfig
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.errors import InputError, StoreError
from indexes.paths import DataPaths


class Settings(BaseSettings):
    """What the environment says of the page; every name in capitals is a variable, an empty one counts as unset.

    Where vectors and encoders are, `indexes.commands.open_paths` reads for every program.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path("data")
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    llm_model: str | None = None
    local_llm: str = "qwen-1.5b"
    encoder: str = DEFAULT_ENCODER
    app_host: str = "127.0.0.1"
    app_port: int = Field(default=7860, ge=1, le=65535)
    app_hosts: str = Field(default="", pattern=r"^[\w.,\s-]*$")  # names that the page answers to beside its own
    app_auth: SecretStr | None = None
    app_endpoints: str = Field(default="", pattern=r"^\s*(none|(https?://[^\s,]+([\s,]+|$))*)$")  # to choose an LLM at
    app_api_keys: SecretStr | None = None
    app_root_path: str = Field(default="", pattern=r"^(https?://[^\s/]+)?(/[\w.~-]+)*/?$")
    app_max_upload_mb: int = Field(default=200, ge=1)
    app_answer_tokens: int = Field(default=700, ge=50)
    app_demo: bool = True
    app_mcp: bool = False
    app_log_json: bool = False
    otel_exporter_otlp_endpoint: str = ""
    otel_exporter_otlp_traces_endpoint: str = ""
    app_log_questions: bool = False  # of each corpus the newest, see app.votes.MOST_KEPT

    @property
    def llm(self) -> LLMConfig:
        """The LLM that answers and teaches: an OpenAI-compatible endpoint, or the embedded one."""
        key = self.openai_api_key.get_secret_value() if self.openai_api_key else None
        return LLMConfig(base_url=self.openai_base_url, api_key=key, model=self.llm_model, local_llm=self.local_llm)

    @property
    def endpoints(self) -> tuple[str, ...] | None:
        """The addresses under which an LLM may be chosen on the page; None for any, where only this machine visits.

        Whoever is let in from elsewhere could otherwise have this machine ask what only it can reach.
        """
        named = tuple(self.app_endpoints.replace(",", " ").split())
        if not named:
            return () if self.app_auth or self._others_visit else None
        return () if named == ("none",) else named

    @property
    def operator(self) -> str | None:
        """Who may choose it where nobody signs in: "" for everybody, None for nobody where others may visit."""
        return None if self._others_visit else ""

    @property
    def _others_visit(self) -> bool:
        return bool(self.app_hosts or self.app_root_path) or not _is_loopback(self.app_host)

    @property
    def api_keys(self) -> tuple[str, ...]:
        """The keys that open /v1, which is closed without any; `InputError`, which repeats none, for a weak one."""
        text = self.app_api_keys.get_secret_value() if self.app_api_keys else ""
        keys = tuple(key.strip() for key in text.split(",") if key.strip())
        if not all(re.fullmatch(r"[!-~]{16,}", key) for key in keys):
            raise InputError(
                "APP_API_KEYS has a key of fewer than 16 characters, or with a blank or a character that no key has. "
                "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        return keys


_EXPECTED = {
    "openai_base_url": "an address like https://host/v1",
    "app_hosts": "host names with commas between them, like rag.example.org",
    "app_endpoints": "addresses with commas between them, like https://host/v1, or none",
    "app_port": "a port number from 1 to 65535",
    "app_max_upload_mb": "a whole number of megabytes, at least 1",
    "app_answer_tokens": "a whole number of tokens, at least 50",
    "app_root_path": "the path at which a proxy shows the page, like /rag",
    "app_demo": "true or false",
    "app_mcp": "true or false",
    "app_log_json": "true or false",
    "app_log_questions": "true or false",
}


def read_settings() -> Settings:
    """The settings; raises `InputError` with a sentence for each variable that is not what it should be."""
    try:
        return Settings()
    except ValidationError as error:
        raise InputError(
            " ".join(_sentence(str(each["loc"][0]).lower(), each["input"]) for each in error.errors())
        ) from None


def _sentence(name: str, given: object) -> str:
    # The value of a secret is never repeated; only these are, and none of them is one.
    shown = f", but it is '{given}'" if name in _EXPECTED else ""
    return f"{name.upper()} should be {_EXPECTED.get(name, 'another kind of value')}{shown}. Set it again, or unset it."


def check_mcp(settings: Settings) -> None:
    """Nothing if the MCP tools can be offered as set; otherwise the sentence is raised."""
    if not settings.app_mcp:
        return
    if find_spec("mcp") is None:
        raise InputError("APP_MCP is set, but the package mcp is not installed. Install it (pip install '.[mcp]').")
    if settings.app_auth:  # gradio calls its own page for a tool, and has no name to give at the door
        raise InputError(
            "APP_MCP and APP_AUTH do not go together: an MCP client cannot sign in, so its tools would answer nobody. "
            "Unset one of them."
        )


def open_door(settings: Settings) -> str:
    """A warning where everybody in reach of the machine may use the page, "" where the door is closed or the machine's
    own.
    """
    if settings.app_auth or _is_loopback(settings.app_host):
        return ""
    return (
        f"Warning: the page listens on {settings.app_host} and asks nobody for a name: whoever reaches it can "
        "read, add and delete documents and use the LLM. Name who may: python -m app password NAME, then APP_AUTH."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def check_port(host: str, port: int) -> None:
    """Nothing if the page can listen there; otherwise the sentence is raised."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            raise InputError(f"APP_HOST is '{host}', but no such address is known. Use 127.0.0.1 or 0.0.0.0.") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(
                f"The page cannot listen on {host}:{port} ({reason}). End what uses that port, or choose another: "
                f"APP_PORT={port + 1 if port < 65535 else 7860} python -m app"
            ) from None


def check_writable(paths: DataPaths) -> None:
    """Nothing if the data folder can be written; otherwise the sentence is raised."""
    probe = paths.root / ".writable"
    try:
        paths.root.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreError(
            f"The data folder {paths.root} cannot be written ({reason}). Check its rights and the disk's space, or set "
            "DATA_DIR to another folder."
        ) from None
