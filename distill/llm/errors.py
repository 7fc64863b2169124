"""Errors of an LLM endpoint, and of the way to it, as sentences with a remedy."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from indexes.errors import LLMRefusedError, LLMUnavailableError, UserError

if TYPE_CHECKING:
    import openai

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
