"""The product itself as OpenAI's API: a corpus is a model, which answers with citations and embeds questions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.answering import Answer, Turn, answer_question
from app.retriever import Retrieval, find_choice
from app.streaming import N_SHOWN, check_question, find_standalone, passages_to_read
from distill.prompts import NO_ANSWER
from indexes.corpus import Corpus, corpora
from indexes.errors import InputError, NotFoundError, UserError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.workbench import Workbench

_ROOT = "/v1"
_MOST_BYTES = 2**22  # of a request
_MOST_INPUTS = 2048
_OWNER = "intermediate-distillation"


class OpenAIDoor:
    """ASGI middleware that answers under /v1 whoever has one of `keys`, and hands on every other request."""

    def __init__(self, app: ASGIApp, bench: Workbench, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]
        self._api = _routes(bench)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or not path.startswith(f"{_ROOT}/"):
            await self._app(scope, receive, send)
        elif self._fits(dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")):
            await self._api({**scope, "path": path, "root_path": ""}, receive, send)
        else:
            sentence = "Incorrect API key provided. It should be one of those in APP_API_KEYS."
            await _error(401, sentence, code="invalid_api_key")(scope, receive, send)

    def _fits(self, header: str) -> bool:
        scheme, _, key = header.partition(" ")
        fits = [hmac.compare_digest(_digest(key.strip()), each) for each in self._digests]  # all, so that none is told
        return scheme.lower() == "bearer" and any(fits)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class _Message(BaseModel):
    role: str
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """What is said; `InputError` for anything but text."""
        if isinstance(self.content, list):
            if any(part.get("type") != "text" for part in self.content):
                raise InputError("Only text is read; leave images and files out.")
            return "\n".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class _Chat(BaseModel):
    model: str
    messages: list[_Message] = Field(min_length=1)
    stream: bool = False


class _Texts(BaseModel):
    model: str
    input: str | list[str] = Field(union_mode="left_to_right")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: Literal["query", "passage"] = "query"


def _routes(bench: Workbench) -> Starlette:
    """The methods of the API over what the page has."""

    def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model(each) for each in corpora(bench.paths)]})

    def model(request: Request) -> Response:
        return JSONResponse(_model(Corpus.open(bench.paths, request.path_params["model"])))

    async def chat(request: Request) -> Response:
        asked = _Chat.model_validate_json(await _body(request))
        found = await run_in_threadpool(_find, bench, asked)
        if asked.stream:
            return StreamingResponse(_events(bench, found), media_type="text/event-stream")
        return await run_in_threadpool(_completion, bench, found)

    async def embeddings(request: Request) -> Response:
        asked = _Texts.model_validate_json(await _body(request))
        return JSONResponse(await run_in_threadpool(_embed, bench, asked))

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, ValidationError)  # noqa: S101 - as it is registered
        wrong = {str(each["loc"][0]) if each["loc"] else "the body": each["msg"] for each in error.errors()}
        if "input" in wrong:
            wrong["input"] = "texts are read, no tokens (in LangChain: check_embedding_ctx_length=False)"
        return _error(400, f"The request will not do: {'; '.join(f'{name}: {said}' for name, said in wrong.items())}.")

    def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, NotFoundError):
            return _error(404, str(error), code="model_not_found")
        return _error(400 if isinstance(error, InputError) else 503, str(error))

    return Starlette(
        routes=[
            Route(f"{_ROOT}/models", models),
            Route(f"{_ROOT}/models/{{model:path}}", model),
            Route(f"{_ROOT}/chat/completions", chat, methods=["POST"]),
            Route(f"{_ROOT}/embeddings", embeddings, methods=["POST"]),
        ],
        exception_handlers={
            ValidationError: invalid,
            UserError: failed,
            404: lambda request, error: _error(404, f"There is no method at {request.url.path}."),
            405: lambda request, error: _error(405, f"{request.url.path} takes no {request.method}."),
        },
    )


def _error(status: int, sentence: str, code: str | None = None) -> JSONResponse:
    return JSONResponse(_error_body(status, sentence, code), status)


def _error_body(status: int, sentence: str, code: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": sentence, "type": kind, "param": None, "code": code}}


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise InputError(f"The request has more than {_MOST_BYTES // 2**20} MiB. Send less at a time.")
    return bytes(body)


def _model(corpus: Corpus) -> dict[str, Any]:
    created = int(corpus.folder.stat().st_mtime)
    return {"id": corpus.name, "object": "model", "created": created, "owned_by": _OWNER}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was searched for the last message of a chat, and what was found, which the answer is written from."""

    searched: str
    retrieval: Retrieval

    @property
    def head(self) -> dict[str, Any]:
        """What every reply and every piece of one begins with."""
        return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": self.retrieval.corpus}

    def evidence(self, answer: Answer) -> dict[str, Any]:
        """The passages that were read, by the numbers that the answer cites, and where it cites them."""
        read = self.retrieval.candidates[: answer.n_passages]
        names = ("source", "title", "page", "document_id", "text")
        return {
            "sources": [
                {"number": number, "passage_id": each.passage.id, "score": each.score}
                | {name: getattr(each.passage, name) for name in names}
                for number, each in enumerate(read, start=1)
            ],
            "citations": [
                {"start": each.start, "end": each.end, "numbers": list(each.numbers)} for each in answer.citations
            ],
        }


def _find(bench: Workbench, asked: _Chat) -> _Found:
    """The passages for the last message, read in the light of those before; instructions of a system are not heeded."""
    Corpus.open(bench.paths, asked.model)  # says which models there are
    said = [message for message in asked.messages if message.role in ("user", "assistant")]
    if not said or said[-1].role != "user":
        raise InputError("The last message should be the user's question.")
    question, turns = check_question(said[-1].text), _turns(said[:-1])
    searched = find_standalone(bench, turns, question, lambda: False)[0] if turns else question
    retrieval = bench.retrievers.retrieve(asked.model, "", searched, N_SHOWN)
    bench.keep_question(retrieval.corpus, searched)
    return _Found(searched=searched, retrieval=retrieval)


def _turns(said: Sequence[_Message]) -> tuple[Turn, ...]:
    """Each question before the last one that was answered."""
    pairs = [(a.text, b.text) for a, b in pairwise(said) if (a.role, b.role) == ("user", "assistant")]
    return tuple(Turn(question=question, searched=question, answer=answer) for question, answer in pairs)


def _answers(bench: Workbench, found: _Found) -> Iterator[Answer]:
    passages = passages_to_read(found.retrieval)
    if not passages:
        yield Answer(n_passages=0, state="done", text=NO_ANSWER)
        return
    yield from answer_question(bench.reader.connect(lambda status: None), found.searched, passages)


def _finish(answer: Answer) -> str | None:
    """Why the answer ended, in OpenAI's words; None where it failed."""
    if answer.state == "done":
        return "stop"
    return "length" if answer.text.strip() and "cut" in answer.notice else None


def _completion(bench: Workbench, found: _Found) -> Response:
    *_, answer = _answers(bench, found)
    finish = _finish(answer)
    if finish is None:
        return _error(503, answer.notice)
    choice = {"index": 0, "message": {"role": "assistant", "content": answer.text}, "finish_reason": finish}
    return JSONResponse(
        found.head | {"object": "chat.completion", "choices": [choice | {"logprobs": None}]} | found.evidence(answer)
    )


def _events(bench: Workbench, found: _Found) -> Iterator[str]:
    """The growing answer as server-sent events; the last piece has the sources, an error ends it in its place."""
    head = found.head | {"object": "chat.completion.chunk"}

    def event(delta: dict[str, str], finish: str | None = None, **more: Any) -> str:
        return _event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more)

    yield event({"role": "assistant", "content": ""})
    sent, answer = "", Answer(n_passages=0)
    try:
        for answer in _answers(bench, found):
            if answer.text.startswith(sent) and len(answer.text) > len(sent):
                yield event({"content": answer.text[len(sent) :]})
                sent = answer.text
        sentence = "" if (finish := _finish(answer)) else answer.notice
    except UserError as error:
        finish, sentence = None, str(error)
    yield _event(_error_body(503, sentence)) if sentence else event({}, finish, **found.evidence(answer))
    yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _embed(bench: Workbench, asked: _Texts) -> dict[str, Any]:
    """Unit vectors by the encoder that a corpus is searched with, as questions unless `input_type` says passages."""
    texts = [asked.input] if isinstance(asked.input, str) else asked.input
    if not 0 < len(texts) <= _MOST_INPUTS:
        raise InputError(f"1 to {_MOST_INPUTS} texts were expected as input, but there are {len(texts)}.")
    with bench.retrievers.reading(Corpus.open(bench.paths, asked.model).name) as opened:
        start = find_choice(bench.retrievers.choices(opened), "")
        encoder = bench.retrievers.encoder_of(opened, start.retriever.encoder)
    if asked.dimensions not in (None, encoder.dimension):
        raise InputError(f"The vectors of '{encoder.name}' have {encoder.dimension} dimensions; leave dimensions out.")
    vectors = encoder.encode_queries(texts) if asked.input_type == "query" else encoder.encode_passages(texts)
    data = [
        {
            "object": "embedding",
            "index": n,
            "embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()
            if asked.encoding_format == "base64"
            else vector.tolist(),
        }
        for n, vector in enumerate(vectors)
    ]
    n_tokens = sum(len(encoder.tokenizer.spans(text)) for text in texts)
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    return {"object": "list", "model": asked.model, "encoder": encoder.name, "data": data, "usage": usage}
