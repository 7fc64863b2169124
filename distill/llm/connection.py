"""Any LLM behind an OpenAI-compatible endpoint, or the embedded one."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from distill.llm.errors import EMBEDDED_HEADER, as_user_error, llm_errors, not_understood, shown_url
from distill.llm.local import LocalServer, ServerAddress
from indexes.errors import LLMRefusedError
from indexes.paths import DataPaths

if TYPE_CHECKING:
    import openai
    from langchain_core.language_models import BaseChatModel

__all__ = [
    "CONNECT_TIMEOUT_S",
    "DEFAULT_OPENAI_MODEL",
    "EMBEDDED_TIMEOUT_S",
    "ENDPOINT_TIMEOUT_S",
    "MAX_RETRIES",
    "OPENAI_URL",
    "LLMConfig",
    "as_user_error",
    "check_llm",
    "connect_llm",
    "embedded_server",
    "llm_errors",
]

OPENAI_URL = "https://api.openai.com/v1"
DEFAULT_OPENAI_MODEL = "gpt-4.1-mini"  # our choice: cheap, good at following a format, accepts temperature 0
ENDPOINT_TIMEOUT_S = 120.0
EMBEDDED_TIMEOUT_S = 900.0  # the prompt of 12 passages takes a minute on two busy cores, and requests queue
CONNECT_TIMEOUT_S = 10.0
MAX_RETRIES = 2  # after the first try; the client waits with jitter, or as Retry-After says up to two minutes
PATIENT_RETRIES = 6  # for work that nobody waits for: half a minute in all, where no Retry-After says more


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMConfig:
    """Which LLM to use: with an address or a key that endpoint, otherwise the embedded model `local_llm`."""

    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    local_llm: str = "qwen-1.5b"

    @property
    def is_embedded(self) -> bool:
        return not self.base_url and not self.api_key

    @property
    def name(self) -> str:
        """What it is called as a teacher; reports and model cards show it."""
        return self.local_llm if self.is_embedded else (self.model or self._address)

    @property
    def _address(self) -> str:
        return shown_url(self.base_url) if self.base_url else "the endpoint's default model"


def connect_llm(
    config: LLMConfig,
    paths: DataPaths,
    *,
    on_status: Callable[[str], None] = lambda text: None,
    server: LocalServer | None = None,
    temperature: float = 0.0,
    max_tokens: int | None = None,
    timeout_s: float | None = None,
    max_retries: int = MAX_RETRIES,
) -> BaseChatModel:
    """A chat model ready to `invoke`, `stream` and `abatch`.

    An embedded model is fetched and started first if it does not run yet (`on_status` is told), once per process
    unless the caller passes its own `server`. Cheap when it runs, so connect anew for each piece of work: a server
    that died comes back. Errors of the calls themselves become sentences inside `llm_errors()`.
    """
    if config.is_embedded:
        server = server or embedded_server(config.local_llm, paths.models)
        address = server.start(on_status)
        return _embedded_chat(address, temperature, max_tokens, timeout_s or EMBEDDED_TIMEOUT_S)
    return _endpoint_chat(config, temperature, max_tokens, timeout_s or ENDPOINT_TIMEOUT_S, max_retries)


def check_llm(llm: BaseChatModel) -> None:
    """Nothing if the LLM answers; otherwise its sentence is raised, before long work has begun."""
    with llm_errors():
        llm.invoke("Reply with OK.", max_tokens=16)  # a few: reasoning models refuse to stop after one


def embedded_server(local_llm: str, models_dir: Path) -> LocalServer:
    """The one server of this process for that model, not started yet."""
    with _FIRST_COME:
        return _server_of_process(local_llm, models_dir.resolve())


_FIRST_COME = threading.Lock()


@functools.cache
def _server_of_process(local_llm: str, models_dir: Path) -> LocalServer:
    return LocalServer(local_llm, models_dir)


def _embedded_chat(
    address: ServerAddress, temperature: float, max_tokens: int | None, timeout_s: float
) -> BaseChatModel:
    import openai
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    class EmbeddedChat(ChatOpenAI):
        """`ChatOpenAI` whose identity in a LangChain cache is the model, not the port that changes at each start."""

        def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
            return super()._get_llm_string(stop, **kwargs).replace(address.base_url, "embedded")

    return EmbeddedChat(
        base_url=address.base_url,
        api_key=SecretStr(address.api_key),
        model=address.model,
        temperature=temperature,
        max_completion_tokens=max_tokens,
        timeout=openai.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
        stream_chunk_timeout=timeout_s,
        stream_usage=True,
        max_retries=1,
        default_headers={EMBEDDED_HEADER: address.model},
        http_client=openai.DefaultHttpxClient(trust_env=False),  # a proxy does not know our loopback
        http_async_client=openai.DefaultAsyncHttpxClient(trust_env=False),
    )


def _endpoint_chat(
    config: LLMConfig, temperature: float, max_tokens: int | None, timeout_s: float, max_retries: int
) -> BaseChatModel:
    import openai
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    base_url, key = _checked_url(config.base_url or OPENAI_URL), _checked_key(config.api_key)
    timeout = openai.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
    return ChatOpenAI(
        base_url=base_url,
        api_key=SecretStr(key),
        model=config.model or _default_model(base_url, key, timeout),
        temperature=temperature,
        max_completion_tokens=max_tokens,
        timeout=timeout,
        stream_chunk_timeout=timeout_s,
        max_retries=max_retries,
    )


def _checked_url(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LLMRefusedError(
            f"OPENAI_BASE_URL is '{url.rpartition('@')[2]}', but a whole address is expected. "
            "Write it like http://localhost:8000/v1 or https://api.openai.com/v1."
        )
    return url.strip().rstrip("/")


def _checked_key(key: str | None) -> str:
    if not key:
        return "none"  # endpoints without keys ignore it; an empty one would make the client look elsewhere
    if not re.fullmatch(r"[!-~]+", key.strip()):
        raise LLMRefusedError(
            "OPENAI_API_KEY has spaces, line breaks or letters that no key has. Copy the key again, without quotes."
        )
    return key.strip()


def _default_model(base_url: str, key: str, timeout: openai.Timeout) -> str:
    """The model to ask when none is set: the only one that the endpoint has, on OpenAI itself our default."""
    if base_url == OPENAI_URL:
        return DEFAULT_OPENAI_MODEL
    import openai

    with (
        llm_errors(),
        openai.OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=MAX_RETRIES) as client,
    ):
        try:
            names = [model.id for model in client.models.list()]
        except (AttributeError, ValueError):  # what the client raises when it gets a web page
            raise not_understood(f"The LLM endpoint {shown_url(base_url)}") from None
    if len(names) != 1:
        offered = f"offers {len(names)} models ({', '.join(names[:6])})" if names else "names no model"
        raise LLMRefusedError(f"The LLM endpoint {shown_url(base_url)} {offered}. Set LLM_MODEL to the one to use.")
    return names[0]
