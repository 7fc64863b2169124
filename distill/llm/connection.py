"""Any LLM behind an OpenAI-compatible endpoint, or the embedded one; its errors are sentences with a remedy."""

from __future__ import annotations

import functools
import json
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from distill.llm.embedded import LocalServer, ServerAddress
from indexes.errors import LLMRefusedError, LLMUnavailableError, UserError
from indexes.paths import DataPaths

if TYPE_CHECKING:
    import openai
    from langchain_core.language_models import BaseChatModel


EMBEDDED_HEADER = "X-Embedded-LLM"  # what requests to the embedded LLM carry, so that their errors name it


@contextmanager
def llm_errors() -> Iterator[None]:
    """Inside, an error of the endpoint is raised as its sentence. Other errors pass through."""
    try:
        yield
    except Exception as error:
        sentence = as_user_error(error)
        if sentence is None or sentence is error:
            raise
        raise sentence from None  # the original may quote the key


def as_user_error(error: Exception) -> UserError | None:
    """The sentence with a remedy for an error of the endpoint or the way to it, None for an error of another kind.

    No sentence holds a key, also where the endpoint's own words quote it.
    """
    import openai

    if isinstance(error, UserError):
        return error
    if isinstance(error, openai.APIStatusError):
        return _status_sentence(error)
    if isinstance(error, (openai.APITimeoutError, TimeoutError)) or _is_transport_error(error, "Timeout"):
        return _way_sentence(error, "did not answer in time")
    if isinstance(error, openai.APIConnectionError) or _is_transport_error(error):
        return _way_sentence(error, "broke off in the middle of an answer" if _is_cut(error) else _unreachable(error))
    if isinstance(error, openai.APIResponseValidationError) or _is_unreadable_reply(error):
        return not_understood(_place(error))
    if isinstance(error, openai.OpenAIError):
        return LLMUnavailableError(f"{_place(error)} could not answer ({_words(error)}). Try again in a moment.")
    return None


def _is_unreadable_reply(error: Exception) -> bool:
    """Whether `error` is what the clients raise, each in its own way, when a reply is a web page or empty."""
    if isinstance(error, json.JSONDecodeError):
        frames = traceback.walk_tb(error.__traceback__)
        return any(frame.f_globals.get("__name__", "").startswith("openai.") for frame, _ in frames)
    replies = ("Unexpected response type from OpenAI-compatible endpoint", "No generation chunks were returned")
    return isinstance(error, ValueError) and str(error).startswith(replies)


def not_understood(place: str) -> UserError:
    """That what came from `place` is no reply of such an endpoint."""
    return LLMRefusedError(
        f"{place} sent something other than an answer. Check that OPENAI_BASE_URL is the address of an "
        "OpenAI-compatible endpoint (it usually ends in /v1)."
    )


def _status_sentence(error: openai.APIStatusError) -> UserError:
    place, words, status = _place(error), _words(error), error.status_code
    if status == 401:
        return LLMRefusedError(f"{place} rejects the API key (status 401). Set OPENAI_API_KEY to a valid key for it.")
    if status == 403:
        return LLMRefusedError(
            f"{place} does not permit this (status 403). Use a key with access to the model, or set another LLM_MODEL."
        )
    if status == 404:
        return LLMRefusedError(
            f"{place} does not have what was asked for ({words}). Set LLM_MODEL to a model it has, and check that "
            "OPENAI_BASE_URL is right (it usually ends in /v1)."
        )
    if status == 429 and ("quota" in words or "billing" in words):
        return LLMRefusedError(f"The account at {place} has no credit left. Add credit there, or use another endpoint.")
    if status == 429:
        return LLMUnavailableError(f"{place} is asked too often (status 429). Wait a minute, then try again.")
    if status in (400, 413) and "context" in words:
        return LLMRefusedError(
            f"The passages do not fit into what the model can read ({words}). Use fewer passages, or a model with a "
            "longer context."
        )
    if status in (408, 409) or status >= 500:
        return LLMUnavailableError(f"{place} failed (status {status}: {words}). Try again in a moment.")
    return LLMRefusedError(
        f"{place} refused the request (status {status}: {words}). Check LLM_MODEL and OPENAI_BASE_URL."
    )


def _way_sentence(error: Exception, what: str) -> UserError:
    if _headers(error).get(EMBEDDED_HEADER):
        return LLMUnavailableError(
            f"{_place(error)} {what}. Ask again: it is started anew if it ended. If it stays so, free some memory, or "
            "set LOCAL_LLM to a smaller model (smollm2-135m)."
        )
    return LLMUnavailableError(
        f"{_place(error)} {what}. Check that it runs, that OPENAI_BASE_URL is right and that the network works, then "
        "try again."
    )


def _is_transport_error(error: Exception, name_part: str = "") -> bool:
    """Whether `error` is one of the HTTP clients below openai (of either generation), by name if asked."""
    return any(
        kind.__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2") and name_part in kind.__name__
        for kind in type(error).__mro__
    )


def _is_cut(error: BaseException | None) -> bool:
    """Whether the connection was made and then lost, in `error` or what caused it."""
    while error is not None:
        if type(error).__name__ in ("RemoteProtocolError", "ReadError"):
            return True
        error = error.__cause__
    return False


def _unreachable(error: BaseException) -> str:
    """That it cannot be reached, with the system's word for why where there is one (refused, unknown name, ...)."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    reason = error.strerror if isinstance(error, OSError) else None
    return f"cannot be reached ({reason})" if reason else "cannot be reached"


def _request(error: Exception) -> Any:
    try:
        return getattr(error, "request", None)
    except RuntimeError:  # httpx: no request was set
        return None


def _headers(error: Exception) -> Any:
    request = _request(error)
    return {} if request is None else request.headers


def _place(error: Exception) -> str:
    embedded = _headers(error).get(EMBEDDED_HEADER)
    if embedded:
        return f"The embedded LLM {embedded}"
    request = _request(error)
    return "The LLM endpoint" if request is None else f"The LLM endpoint {shown_url(str(request.url))}"


def shown_url(url: str) -> str:
    """`url` without user, password, query and the path of the method."""
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return shown.removesuffix("/chat/completions").removesuffix("/models")


def _words(error: Exception) -> str:
    """What the endpoint itself said, short, on one line and without a key."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    text = " ".join(str(said or getattr(error, "message", "") or type(error).__name__).split())
    if text.startswith("<"):
        return "a web page instead of an answer"
    key = str(_headers(error).get("Authorization", "")).removeprefix("Bearer ").strip()
    if len(key) > 4:
        text = text.replace(key, "***")
    return without_keys(text)[:200].rstrip(".")


def without_keys(text: str) -> str:
    """`text` with *** in place of what looks like a key."""
    return re.sub(r"\b(sk|key|Bearer)[-_ ][\w*.-]{6,}", "***", text)


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
