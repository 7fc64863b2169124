"""Any LLM behind an OpenAI-compatible endpoint, or the embedded one; its errors are sentences with a remedy."""

from __future__ import annotations

import functools
import math
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from distill.llm.embedded import EMBEDDED_HEADER, LocalServer
from distill.llm.reply_cache import without_keys
from indexes.errors import LLMRefusedError, LLMUnavailableError, UserError
from indexes.paths import DataPaths

if TYPE_CHECKING:
    import openai
    from langchain_core.language_models import BaseChatModel


# Of prompts that are too long, as OpenAI, vLLM, Mistral and llama.cpp, Anthropic, Google, TGI and Bedrock say it, and
# whoever speaks of the tokens of a prompt that are too many; a parameter that is too large is no prompt.
_OVERFLOW = re.compile(
    r"context|prompt is too long|token count|tokens? (limit|allowed)|`?inputs`? tokens|input (is )?too long|above_max|"
    r"^(?!.*max_\w*tokens)(?=.*\b(?:prompts?|inputs?|messages?|request)\b)(?=.*\b(?:tokens?|length)\b)"
    r".*\b(?:max|maximum|limit|exceeds?|exceeded|too|longer|larger|more than|at most|fewer|reduce|shorten)\b",
    re.I | re.S,
)


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
    import httpx2
    import openai

    if isinstance(error, UserError):
        return error
    if isinstance(error, openai.APIStatusError):
        return _status_sentence(error)
    if isinstance(error, (openai.APITimeoutError, TimeoutError, httpx2.TimeoutException)):
        return _way_sentence(error, "did not answer in time")
    if isinstance(error, (openai.APIConnectionError, httpx2.TransportError)):
        return _way_sentence(error, "broke off in the middle of an answer" if _is_cut(error) else _unreachable(error))
    if isinstance(error, openai.APIResponseValidationError) or _is_unreadable_reply(error):
        return not_understood(_place(error))
    if isinstance(error, openai.OpenAIError):
        return LLMUnavailableError(f"{_place(error)} could not answer ({_words(error)}). Try again in a moment.")
    return None


def _is_unreadable_reply(error: Exception) -> bool:
    """Whether `error` is what the clients raise, each in its own way, at a stream that is none of such an endpoint."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    kinds = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
    inside = ("openai.", "langchain_openai.", "langchain_core.", "pydantic.", "json.")
    return isinstance(error, kinds) and bool(frames) and frames[-1].startswith(inside)


def not_understood(place: str) -> UserError:
    """That what came from `place` is no reply of such an endpoint."""
    return LLMRefusedError(
        f"{place} sent something other than an answer. Check that OPENAI_BASE_URL is the address of an "
        "OpenAI-compatible endpoint (it usually ends in /v1)."
    )


def _status_sentence(error: openai.APIStatusError) -> UserError:
    from distill.llm import wire

    place, words, status = _place(error), _words(error), error.status_code
    has_no_credit = status == 402 or (status == 429 and re.search("quota|billing|credit", f"{words} {error.code}"))
    if words == wire.NO_ANSWER:
        return not_understood(place)
    if status == 401:
        return LLMRefusedError(
            f"{place} rejects the API key (status 401). Set OPENAI_API_KEY to a valid key for it.", concerns_all=True
        )
    if status == 403:
        return LLMRefusedError(
            f"{place} does not permit this (status 403). Use a key with access to the model, or set another LLM_MODEL."
        )
    if status == 404:
        return LLMRefusedError(
            f"{place} does not have what was asked for ({words}). Set LLM_MODEL to a model it has, and check that "
            "OPENAI_BASE_URL is right (it usually ends in /v1).",
            concerns_all=True,
        )
    if has_no_credit:
        return LLMRefusedError(
            f"{place} says that there is no credit left ({words}). Add credit there, or use another endpoint.",
            concerns_all=True,
        )
    if status == 429:
        wait_s = int(text) if (text := error.response.headers.get("retry-after", "")).isdecimal() else 0
        wait = f"{math.ceil(wait_s / 60)} minutes, as it asks" if wait_s > 60 else "a minute"
        return LLMUnavailableError(f"{place} is asked too often (status 429). Wait {wait}, then try again.")
    if status in (400, 413, 422) and _OVERFLOW.search(f"{words} {error.code}"):
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
    is_nowhere = what.startswith("cannot be reached") or type(error.__cause__).__name__ == "ConnectTimeout"
    check = (
        "Ask again: it is started anew if it ended. If it stays so, free some memory, or set LOCAL_LLM to a smaller "
        "model (smollm2-135m)."
        if _headers(error).get(EMBEDDED_HEADER)
        else "Check that it runs, that OPENAI_BASE_URL is right and that the network works, then try again."
    )
    return LLMUnavailableError(f"{_place(error)} {what}. {check}", concerns_all=is_nowhere)


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
    """Who was asked, for people: the embedded LLM, or the endpoint at its address."""
    request = _request(error)
    if request is None:
        return "The LLM endpoint"
    embedded = request.headers.get(EMBEDDED_HEADER)
    return f"The embedded LLM {embedded}" if embedded else f"The LLM endpoint {shown_url(str(request.url))}"


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
        address = shown_url(self.base_url) if self.base_url else "the endpoint's default model"
        return self.local_llm if self.is_embedded else (self.model or address)


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
    options: dict[str, Any] = {"temperature": temperature, "max_completion_tokens": max_tokens}
    if config.is_embedded:
        at = (server or embedded_server(config.local_llm, paths.models)).start(on_status)
        wait_s = timeout_s or EMBEDDED_TIMEOUT_S
        return _chat(at.base_url, at.api_key, at.model, wait_s, embedded=True, max_retries=1, **options)
    base_url, key = _checked_url(config.base_url or OPENAI_URL), _checked_key(config.api_key)
    model = config.model or _default_model(base_url, key)
    return _chat(base_url, key, model, timeout_s or ENDPOINT_TIMEOUT_S, max_retries=max_retries, **options)


def embedded_server(local_llm: str, models_dir: Path) -> LocalServer:
    """The one server of this process for that model, not started yet."""
    with _FIRST_COME:
        return _server_of_process(local_llm, models_dir.resolve())


_FIRST_COME = threading.Lock()


@functools.cache
def _server_of_process(local_llm: str, models_dir: Path) -> LocalServer:
    return LocalServer(local_llm, models_dir)


def _chat(
    base_url: str, key: str, model: str, timeout_s: float, *, embedded: bool = False, **options: Any
) -> BaseChatModel:
    """The client of an endpoint, to which nothing goes that the environment says and the caller does not."""
    import openai
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    from distill.llm.wire import AsyncClient, SyncClient

    place = f"The embedded LLM {model}" if embedded else f"The LLM endpoint {shown_url(base_url)}"
    options_of_both: dict[str, Any] = {"place": place, "trust_env": not embedded}  # a proxy does not know our loopback
    return ChatOpenAI(
        base_url=base_url,
        api_key=SecretStr(key),
        model=model,
        organization=None,
        openai_proxy=None,
        timeout=openai.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
        stream_chunk_timeout=timeout_s,
        stream_usage=embedded,
        default_headers={EMBEDDED_HEADER: model} if embedded else None,
        http_client=SyncClient(base_url, key, model, **options_of_both),
        http_async_client=AsyncClient(base_url, key, model, **options_of_both),
        **options,
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


def _default_model(base_url: str, key: str) -> str:
    """The model to ask when none is set: the only one that the endpoint has, on OpenAI itself our default."""
    if base_url == OPENAI_URL:
        return DEFAULT_OPENAI_MODEL
    import openai

    from distill.llm.wire import SyncClient

    timeout = openai.Timeout(25.0, connect=CONNECT_TIMEOUT_S)
    with llm_errors(), SyncClient(base_url, key, "", place="") as http:
        client = openai.OpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=1, http_client=http)
        try:
            names = [str(model.id) for model in client.models.list()]
        except (
            AttributeError,
            ValueError,
            TypeError,
            LookupError,
            RecursionError,
        ):  # at a web page
            raise not_understood(f"The LLM endpoint {shown_url(base_url)}") from None
    if len(names) != 1:
        offered = f"offers {len(names)} models ({', '.join(names[:6])})" if names else "names no model"
        raise LLMRefusedError(f"The LLM endpoint {shown_url(base_url)} {offered}. Set LLM_MODEL to the one to use.")
    return names[0]
