"""A real OpenAI-compatible HTTP server on loopback with scripted replies: the fake enters by the network's door."""

from __future__ import annotations

import json
import random
import re
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Message = dict[str, Any]
Reply = Callable[[list[Message]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to /v1/chat/completions as it came; `body` is the parsed JSON, `key` what stood after Bearer, and
    `headers` are all others, names in small letters."""

    body: dict[str, Any]
    key: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> list[Message]:
        messages: list[Message] = self.body["messages"]
        return messages

    @property
    def text(self) -> str:
        """All message contents, joined."""
        return "\n".join(str(message["content"]) for message in self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What to do instead of answering: an HTTP status, a stream broken after some words, no answer at all, a `body`
    that is no reply (in a stream one event, if it is JSON), or a reply with another `content` or `finish`.
    """

    status: int = 200
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    break_after_words: int | None = None
    stall: bool = False
    body: bytes | None = None
    content: Any = "as scripted"
    finish: str = "stop"


_SOON = {"Retry-After": "0.01"}
REFUSED: dict[str, Fault] = {  # kinds that no second try helps against
    "400": Fault(status=400, message="this prompt is not to our liking"),
    "403": Fault(status=403, message="moderation"),
    "413": Fault(status=413, message="too large"),
    "filtered": Fault(content=None, finish="content_filter"),
    "cut before a word": Fault(content="<think>hm, hm", finish="length"),
    "too long": Fault(body=b" " * 8_100_000),
}
UNREADABLE: dict[str, Fault] = {
    name: Fault(body=body, headers=_SOON)
    for name, body in {
        "a web page": b"<html><body>Welcome</body></html>",
        "nothing": b"",
        "half a reply": b'{"choices": [{"message": {"content": "[1',
        "a list": b"[]",
        "a number": b"7",
        "null": b"null",
        "an error in a 200": b'{"error": {"message": "overloaded", "code": 503}}',
        "an error in words": b'{"error": "overloaded"}',
        "choices empty": b'{"choices": []}',
        "choices missing": b'{"id": "x"}',
        "choices null": b'{"choices": null}',
        "choices a map": b'{"choices": {"0": 1}}',
        "a choice null": b'{"choices": [null]}',
        "no message": b'{"choices": [{"index": 0}]}',
        "message null": b'{"choices": [{"message": null}]}',
        "message a text": b'{"choices": [{"message": "[1] > [2]"}]}',
        "content a number": b'{"choices": [{"message": {"content": 7}}]}',
        "parts of no kind": b'{"choices": [{"message": {"content": [7]}}]}',
        "too deep": b"[" * 100_000,
        "no UTF-8": b'{"choices": [{"message": {"content": "\xff\xfe"}}]}',
        "a number without end": b'{"choices": ' + b"9" * 5000 + b"}",
    }.items()
}
PASSING: dict[str, Fault] = {  # as they come and go; the client asks again
    "500": Fault(status=500, message="boom", headers=_SOON),
    "503": Fault(status=503, message="<html>Bad gateway</html>", headers=_SOON),
    "429": Fault(status=429, message="slow down", headers=_SOON),
    "408": Fault(status=408, message="too slow", headers=_SOON),
    "broken off": Fault(break_after_words=0),
}


class ScriptedEndpoint:
    """A server that answers each chat request with `reply(messages)`.

    with ScriptedEndpoint(lambda messages: "[1]") as endpoint:
        ... endpoint.base_url, endpoint.requests, len(endpoint.requests)
        endpoint.fail(429, retry_after_s=0.1, times=2)     # the next two chat requests
        endpoint.break_streams(after_words=3)              # from now on, until `recover()`
        endpoint.fault = lambda request: REFUSED["413"] if "q7" in request.text else None    # by prompt, always
        endpoint.fault = mixed(0.2, [*PASSING.values(), *UNREADABLE.values()])                # by lot
        endpoint.refuses = {"temperature": "Unsupported value: 'temperature'"}    # parameters, or "system", with 400
        endpoint.honours = ("max_tokens",)                 # limits that cut a reply, a token a word

    `served` counts the usable replies by the last message of their request.

    `reply` may be replaced at any time. With `api_key` set, any other key gets 401, as from the real one. `delay_s`
    is slept before each word of a stream, for tests that stop in the middle. Embeddings are counts of hashed words.
    """

    def __init__(
        self,
        reply: Reply = lambda messages: "A scripted answer [1].",
        *,
        models: Sequence[str] = ("scripted",),
        api_key: str | None = None,
        delay_s: float = 0.0,
        max_inputs: int = 2048,
        shuffle_embeddings: bool = False,
    ) -> None:
        self.reply = reply
        self.models = tuple(models)
        self.api_key = api_key
        self.delay_s = delay_s
        self.max_inputs = max_inputs  # texts of one embedding request; more are refused
        self.shuffle_embeddings = shuffle_embeddings
        self.dimension = 16  # of the vectors
        self.requests: list[Request] = []
        self.paths: list[str] = []
        self.keys: set[str] = set()  # of all requests
        self.longest = 10**9  # characters of a text that is embedded
        self.embedded: list[str] = []
        self.fault: Callable[[Request], Fault | None] = lambda request: None
        self.refuses: Mapping[str, str] = {}
        self.honours: tuple[str, ...] = ()
        self.served: Counter[str] = Counter()
        self._next: deque[Fault] = deque()
        self._always: Fault | None = None
        self._released = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def fail(
        self, status: int, message: str = "scripted failure", *, retry_after_s: float | None = None, times: int = 0
    ) -> None:
        """Answer `status` to the next `times` chat requests, or to every request until `recover()` if 0."""
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        self._script(Fault(status=status, message=message, headers=headers), times)

    def break_streams(self, after_words: int = 2, *, times: int = 0) -> None:
        """Drop the connection after `after_words` words of a streamed answer (at once when not streaming)."""
        self._script(Fault(break_after_words=after_words), times)

    def stall(self, *, times: int = 0) -> None:
        """Accept requests and never answer them, until the endpoint is closed or recovers."""
        self._released.clear()
        self._script(Fault(stall=True), times)

    def recover(self) -> None:
        """Answer as scripted again."""
        self._always = None
        self._next.clear()
        self._released.set()

    def refusal(self, body: dict[str, Any]) -> Fault | None:
        """The refusal of the first parameter or role that this endpoint does not take."""
        names = {*body, *(message["role"] for message in body["messages"])}
        return next((Fault(status=400, message=said) for name, said in self.refuses.items() if name in names), None)

    def answer(self, body: dict[str, Any], fault: Fault | None) -> tuple[Any, str]:
        """(content, finish_reason) of the reply, cut where a limit is honoured."""
        fault = fault or Fault()
        content = self.reply(body["messages"]) if fault.content == "as scripted" else fault.content
        limit = min((body[name] for name in self.honours if name in body), default=None)
        if limit and isinstance(content, str) and len(content.split()) > limit:
            return " ".join(content.split()[:limit]), "length"
        if fault.finish == "stop" and content:
            self.served[str(body["messages"][-1]["content"])] += 1
        return content, fault.finish

    def __enter__(self) -> ScriptedEndpoint:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _script(self, failure: Fault, times: int) -> None:
        if times:
            self._next.extend([failure] * times)
        else:
            self._always = failure

    def failure_for(self, path: str) -> Fault | None:
        """What to do instead of answering this request; counted failures are spent on chat and embedding requests."""
        if path.endswith(("/chat/completions", "/embeddings")) and self._next:
            return self._next.popleft()
        return self._always

    def wait_until_released(self) -> None:
        self._released.wait(60)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the library's 5, a sixth client at once waits for seconds
    block_on_close = False

    def __init__(self, script: ScriptedEndpoint) -> None:
        self.script = script
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that hangs up in the middle is part of many tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # chunked bodies: only so does a client notice that a stream was cut
    disable_nagle_algorithm = True  # a body would wait up to 40 ms for the client's word that the headers came
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests print their own words."""

    def do_GET(self) -> None:
        if self._refused():
            return
        if self.path.endswith("/models"):
            data = [{"id": name, "object": "model", "created": 0, "owned_by": "test"} for name in self._script.models]
            self._send_json(200, {"object": "list", "data": data})
        elif self.path.endswith("/health"):
            self._send_json(200, {"status": "ok"})
        else:
            self._send_error(404, f"no such path: {self.path}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path.endswith("/chat/completions"):
            self._script.requests.append(self._request(body))
        failure = self._script.failure_for(self.path)
        if self.path.endswith("/chat/completions"):
            failure = failure or self._script.refusal(body) or self._script.fault(self._script.requests[-1])
        if self._refused(failure, counted=True):
            return
        if not self.path.endswith(("/chat/completions", "/embeddings")):
            self._send_error(404, f"no such path: {self.path}")
        elif body.get("model") not in self._script.models:
            self._send_error(404, f"The model `{body.get('model')}` does not exist", code="model_not_found")
        elif self.path.endswith("/embeddings"):
            self._embed(body)
        elif failure and failure.body is not None:
            self._send_raw(failure, is_stream=bool(body.get("stream")))
        elif body.get("stream"):
            self._stream(body, failure)
        elif failure and failure.break_after_words is not None:
            self.close_connection = True
        else:
            self._send_json(200, _completion(body, *self._script.answer(body, failure)))

    @property
    def _script(self) -> ScriptedEndpoint:
        return self.server.script

    @property
    def _key(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _request(self, body: dict[str, Any]) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items() if name.lower() != "authorization"}
        return Request(body=body, key=self._key, headers=headers)

    def _send_raw(self, fault: Fault, *, is_stream: bool) -> None:
        body = fault.body or b""
        kind = "text/html" if body.startswith(b"<") else "application/json"
        if is_stream and kind != "text/html":
            body, kind = b"data: " + body + b"\n\ndata: [DONE]\n\n", "text/event-stream"
        self._send(200, body, {"Content-Type": kind, **fault.headers})

    def _refused(self, failure: Fault | None = None, *, counted: bool = False) -> bool:
        """Whether this request got its scripted failure instead of an answer."""
        self._script.paths.append(self.path)
        self._script.keys.add(self._key)
        if not counted:
            failure = self._script.failure_for(self.path)
        if self._script.api_key is not None and self._key != self._script.api_key:
            self._send_error(401, f"Incorrect API key provided: {self._key}", code="invalid_api_key")
            return True
        if failure and failure.stall:
            self._script.wait_until_released()
            self.close_connection = True
            return True
        if failure and failure.status != 200:
            self._send_error(failure.status, failure.message, headers=failure.headers)
            return True
        return False

    def _embed(self, body: dict[str, Any]) -> None:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        if len(texts) > self._script.max_inputs:
            self._send_error(400, f"at most {self._script.max_inputs} inputs")
            return
        if any(len(text) > self._script.longest for text in texts):
            self._send_error(413, "the input is too large")
            return
        self._script.embedded += texts
        data = [{"object": "embedding", "index": n, "embedding": self._vector(text)} for n, text in enumerate(texts)]
        data = data[::-1] if self._script.shuffle_embeddings else data
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        self._send_json(200, {"object": "list", "model": body["model"], "data": data, "usage": usage})

    def _vector(self, text: str) -> list[float]:
        vector = [0.25] * self._script.dimension
        for word in text.lower().split() if vector else ():
            vector[zlib.crc32(word.encode()) % len(vector)] += 3.0
        return vector

    def _stream(self, body: dict[str, Any], failure: Fault | None) -> None:
        content, finish = self._script.answer(body, failure)
        words = re.findall(r"\s*\S+|\s+$", content or "")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for n, event in enumerate(_events(body, words, finish)):
            if failure and failure.break_after_words is not None and n > failure.break_after_words:
                self.close_connection = True
                return
            time.sleep(self._script.delay_s)
            self._send_chunk(f"data: {event}\n\n".encode())
        self._send_chunk(b"")

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _send_error(
        self, status: int, message: str, *, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        error = {"message": message, "type": "scripted", "param": None, "code": code}
        self._send_json(status, {"error": error}, headers)

    def _send_json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)


def _usage(body: dict[str, Any], text: Any) -> dict[str, int]:
    n_prompt = sum(len(str(message["content"]).split()) for message in body["messages"])
    n_reply = len(str(text or "").split())
    return {"prompt_tokens": n_prompt, "completion_tokens": n_reply, "total_tokens": n_prompt + n_reply}


def mixed(share: float, faults: Sequence[Fault], seed: int = 13) -> Callable[[Request], Fault | None]:
    """What gives that share of all requests one of `faults`, by lot."""
    rng = random.Random(seed)  # noqa: S311
    return lambda request: rng.choice(faults) if rng.random() < share else None


def _completion(body: dict[str, Any], text: Any, finish: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": _usage(body, text),
    }


def _events(body: dict[str, Any], words: Sequence[str], finish: str) -> Iterator[str]:
    """The JSON of each server-sent event of a streamed answer: role, one per word, finish, usage if asked, [DONE]."""
    head = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 0, "model": body["model"]}
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": word}, None) for word in words]
    deltas += [({}, finish)]
    for delta, ended in deltas:
        yield json.dumps(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": ended}]})
    if (body.get("stream_options") or {}).get("include_usage"):
        yield json.dumps(head | {"choices": [], "usage": _usage(body, "".join(words))})
    yield "[DONE]"
