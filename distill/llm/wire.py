"""The HTTP between us and an OpenAI-compatible endpoint: what leaves, what may come back, and its habits."""

from __future__ import annotations

import functools
import json
import math
import re
import ssl
import time
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from distill.llm.embedded import EMBEDDED_HEADER
from distill.llm.reply_cache import read_reply
from indexes.errors import LLMRefusedError, LLMUnavailableError
from indexes.observing import request_number

NO_ANSWER = "something other than an answer"  # in place of an error's words, where there is no reply in a response
MOST_BYTES = 8_000_000  # of a reply: a streamed token takes about 250, one of a whole reply 5
_LONGEST_WAITS = 3  # read timeouts that one reply may take, however often a byte of it comes
_MOST_UNREADABLE = 2  # times that a reply which is none is asked for again: it may have been paid for
_HEADERS = ("host", "accept", "connection", "content-type", "user-agent", EMBEDDED_HEADER.lower())
_LONGEST_RETRY_S = 60  # by openai's client
_TRIED = "x-stainless-retry-count"  # by openai's client
_LIMITS = ("max_completion_tokens", "max_tokens")
_KNOW_BOTH = ("openai.com", "azure.com")  # whose newer models refuse max_tokens; elsewhere it is the name all know
_SPARED = {"model", "messages", "stream", *_LIMITS}
_NOT_ABOUT_THE_NAME = re.compile(r"too large|context|exceed|maximum|could not finish|reached")
_SYSTEM_REFUSED = re.compile(
    r"(system|developer)\W.{0,40}\brole|role\b.{0,60}\W(system|developer)|roles must alternate"
)
_STATUS_OF = {
    "invalid_api_key": 401,
    "model_not_found": 404,
    "context_length_exceeded": 400,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
}

Habits = set[str]
"""What an endpoint takes otherwise: a name of the limit on replies that it knows, "no NAME" for a parameter that it
refuses, and "no system" where it takes no system role."""


@functools.cache
def habits_of(base_url: str, model: str) -> Habits:
    """What is known of the endpoint's habits, by what this process has seen; replies add to it."""
    host = urlsplit(base_url).hostname or ""
    return set() if host.endswith(_KNOW_BOTH) else {"max_tokens"}


def fitted(body: Mapping[str, Any], habits: Habits) -> dict[str, Any]:
    """The request `body` as an endpoint of such habits takes it."""
    fit = {name: value for name, value in body.items() if f"no {name}" not in habits}
    if "max_tokens" in habits and "max_completion_tokens" not in habits and "max_completion_tokens" in fit:
        fit["max_tokens"] = fit.pop("max_completion_tokens")
    return fit | {"messages": _without_system(fit["messages"])} if "no system" in habits else fit


def _without_system(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`messages`, what the system says before the first words of the user."""
    said = [message["content"] for message in messages if message["role"] in ("system", "developer")]
    others = [message for message in messages if message["role"] not in ("system", "developer")]
    first = {"role": "user", "content": "\n\n".join([*said, *(each["content"] for each in others[:1])])}
    return [first, *others[1:]] if said else others


def _habit(sent: Mapping[str, Any], response: httpx2.Response) -> str:
    """What of `sent` the refusal names, as a habit; "" for a refusal or failure of any other kind."""
    words = response.text[:4000].lower()
    if response.status_code not in (400, 404, 422, 500, 501) or _NOT_ABOUT_THE_NAME.search(words):
        return ""
    for name, other in (_LIMITS, _LIMITS[::-1]):
        if name in sent and name in words:
            return other
    named = [name for name in sent if name not in _SPARED and len(name) > 2 and name in words]
    if named:
        return f"no {named[0]}"
    has_system = any(message["role"] in ("system", "developer") for message in sent["messages"])
    return "no system" if has_system and _SYSTEM_REFUSED.search(words) else ""


Exchange = Generator[httpx2.Request, httpx2.Response, httpx2.Response]


class _Wire:
    """What the two clients, for threads and for loops, have in common."""

    def __init__(self, base_url: str, key: str, model: str, place: str) -> None:
        self.place = place
        self._key = key
        self._habits = habits_of(base_url, model)

    def exchange(self, request: httpx2.Request) -> Exchange:
        """The requests to send, one after the other, for each of which the response is wanted; returns the last one.

        What an endpoint refuses by name is left out or said otherwise, each such thing once, and remembered if that
        did it. A reply comes back in the plainest form there is.
        """
        if not request.url.path.endswith("/chat/completions"):
            return (yield self._clean(request, request.content))
        body, habits = json.loads(request.content), set(self._habits)
        tried = int(request.headers.get(_TRIED, 0))
        while True:
            sent = fitted(body, habits)
            response = yield self._clean(request, json.dumps(sent).encode())
            habit = "" if response.is_success else _habit(sent, response)
            if not habit or habit in habits:
                break
            habits.add(habit)
        if not response.is_success:
            return _without_vain_retries(response)
        self._habits |= habits
        return response if _is_stream(response) else _plain_reply(response, tried)

    def _clean(self, request: httpx2.Request, content: bytes) -> httpx2.Request:
        """`request` with no header that we have not meant: the library sends organisations and whole headers that it
        finds in the environment to whatever address it is given.
        """
        headers = {name: value for name, value in request.headers.items() if name in _HEADERS}
        headers |= {"authorization": f"Bearer {self._key}", "accept-encoding": "identity"}
        headers |= {"x-request-id": request_number()} if request_number() else {}
        return httpx2.Request(
            request.method, request.url, headers=headers, content=content, extensions=request.extensions
        )

    def give_up(self, request: httpx2.Request, error: httpx2.TimeoutException) -> None:
        """Raises the sentence for a second request in a row without a reply: each next one would take as long."""
        if isinstance(error, httpx2.ReadTimeout) and request.headers.get(_TRIED, "0") != "0":
            raise LLMUnavailableError(
                f"{self.place} did not answer in time ({request.extensions['timeout']['read']:g} s). Check that "
                "it runs and is not overloaded, then try again.",
                may_cost=True,
            ) from None


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The certificates of this machine, read once: each answer connects anew, and they take most of its time."""
    return httpx2.create_ssl_context()


class SyncClient(openai.DefaultHttpxClient):
    """An HTTP client for openai's that sends and takes only what `_Wire` lets through."""

    def __init__(self, base_url: str, key: str, model: str, *, place: str, **options: Any) -> None:
        self._wire = _Wire(base_url, key, model, place)
        # Redirects could lead a server's server anywhere.
        super().__init__(follow_redirects=False, verify=_trusted(), **options)

    def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """The response, whole, or as a stream where that was asked for and is what came."""
        exchange = self._wire.exchange(request)
        sent = next(exchange)
        try:
            while True:
                response = _bounded(super().send(sent, stream=True, **options), self._wire.place)
                if not _is_stream(response):
                    response.read()
                sent = exchange.send(response)
        except StopIteration as end:
            return _reply_to(request, end.value)
        except httpx2.TimeoutException as error:
            self._wire.give_up(request, error)
            raise


class AsyncClient(openai.DefaultAsyncHttpxClient):
    """The same for loops."""

    def __init__(self, base_url: str, key: str, model: str, *, place: str, **options: Any) -> None:
        self._wire = _Wire(base_url, key, model, place)
        # Redirects could lead a server's server anywhere.
        super().__init__(follow_redirects=False, verify=_trusted(), **options)

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """The response, whole, or as a stream where that was asked for and is what came."""
        exchange = self._wire.exchange(request)
        sent = next(exchange)
        try:
            while True:
                response = _bounded(await super().send(sent, stream=True, **options), self._wire.place)
                if not _is_stream(response):
                    await response.aread()
                sent = exchange.send(response)
        except StopIteration as end:
            return _reply_to(request, end.value)
        except httpx2.TimeoutException as error:
            self._wire.give_up(request, error)
            raise


def _reply_to(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    response.request = request  # openai's client knows by it how it had asked
    return response


def _is_stream(response: httpx2.Response) -> bool:
    return response.is_success and response.headers.get("content-type", "").startswith("text/event-stream")


def _bounded(response: httpx2.Response, place: str) -> httpx2.Response:
    """`response`, whose body ends in an error where it is too long, or too slow for a reply that comes as a whole."""
    response.headers.pop(
        "content-encoding", None
    )  # what is compressed unasked is no reply: it could unfold to anything
    wait_s = response.request.extensions.get("timeout", {}).get("read")
    longest_s = math.inf if _is_stream(response) or not wait_s else _LONGEST_WAITS * wait_s
    response.stream = _Bounded(response, place, time.monotonic() + longest_s)
    return response


class _Bounded(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response, place: str, until: float) -> None:
        self._stream: Any = response.stream
        self._request, self._place, self._until, self._n_left = response.request, place, until, MOST_BYTES

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                yield self._counted(chunk)
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield self._counted(chunk)
        finally:
            await self.aclose()

    def close(self) -> None:
        self._stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _counted(self, chunk: bytes) -> bytes:
        self._n_left -= len(chunk)
        if self._n_left < 0:
            raise LLMRefusedError(
                f"{self._place} sent more than {MOST_BYTES / 1e6:g} MB for one reply, and was broken off. "
                "Check that LLM_MODEL is a chat model and keeps to a limit on its replies.",
                may_cost=True,
            )
        if time.monotonic() > self._until:
            raise httpx2.ReadTimeout("a reply that does not end", request=self._request)
        return chunk


def _plain_reply(response: httpx2.Response, tried: int) -> httpx2.Response:
    """A reply with nothing but its text, why it ended and what was counted; one that holds no text is the failure that
    it stands for, which is asked again where that may help.
    """
    try:
        value = json.loads(response.content)
        error = value.get("error") if isinstance(value, dict) else None
        reply = None if error else read_reply(value)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        error, reply = NO_ANSWER, None
    if reply is None:
        known = error if isinstance(error, dict) else {"message": error}
        code = known.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else _STATUS_OF.get(str(code), 502)
        body = {"error": {"message": str(known.get("message") or error)[:2000], "code": code}}
        return _without_vain_retries(_json(response, status, body), is_paid=tried >= _MOST_UNREADABLE)
    message = {"role": "assistant", "content": reply.text}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish}
    head = {"id": "reply", "object": "chat.completion", "created": 0, "model": "reply"}
    return _json(response, 200, head | {"choices": [choice], "usage": reply.usage})


def _json(response: httpx2.Response, status: int, body: object) -> httpx2.Response:
    headers = {"content-type": "application/json"}
    headers |= {name: value for name, value in response.headers.items() if name.startswith("retry-after")}
    return httpx2.Response(status, headers=headers, content=json.dumps(body).encode(), request=response.request)


def _without_vain_retries(response: httpx2.Response, *, is_paid: bool = False) -> httpx2.Response:
    """`response`, marked so that it is not asked again where each try costs, there is no credit for any, or the wait
    that it asks for is longer than openai's client ever waits.
    """
    wait_s = response.headers.get("retry-after", "")
    is_far = wait_s.isdecimal() and int(wait_s) > _LONGEST_RETRY_S
    has_no_credit = response.status_code == 429 and re.search("quota|billing|credit", response.text[:4000])
    if is_paid or is_far or has_no_credit:
        response.headers["x-should-retry"] = "false"
    return response
