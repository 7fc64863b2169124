"""Requests put off as files for a provider's batch service, and its replies into the cache."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from distill.llm.connection import EMBEDDED_HEADER, without_keys
from distill.llm.reply_cache import ReplyCache, request_key
from indexes.errors import InputError, LLMError, StoreError

MOST_REQUESTS = 50_000  # what OpenAI's batch service takes in one file
MOST_BYTES = 200_000_000
_REQUEST = {"method": "POST", "url": "/v1/chat/completions"}
_LONGEST_REASON = 200
_REASONS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReplies:
    """What an output file held: replies that are remembered now, and for each other line its name and why.

    The tokens are those that the service counted.
    """

    n_replies: int
    failed: tuple[str, ...]
    prompt_tokens: int = 0
    reply_tokens: int = 0

    @property
    def sentence(self) -> str:
        """What came and what did not."""
        came = f"{self.n_replies} replies came ({self.prompt_tokens} tokens read, {self.reply_tokens} written)"
        if not self.failed:
            return f"{came}."
        shown = "; ".join([*self.failed[:_REASONS_SHOWN], *(["..."] if len(self.failed) > _REASONS_SHOWN else [])])
        return f"{came}. Without a reply, and asked again: {len(self.failed)} ({shown})."


def no_provider() -> InputError:
    """What to say where nobody could answer a batch."""
    return InputError(
        "A batch is answered by a provider, but the LLM is not at one. Set OPENAI_API_KEY, or OPENAI_BASE_URL, or ask "
        "without batches."
    )


def request_body(llm: BaseChatModel, messages: Sequence[BaseMessage]) -> dict[str, Any]:
    """What the client would send, by its own translation, so that the batch asks exactly what the run would ask."""
    translate = getattr(llm, "_get_request_payload", None)
    if translate is None or EMBEDDED_HEADER in (getattr(llm, "default_headers", None) or {}):
        raise no_provider()
    body: dict[str, Any] = translate(list(messages))
    if "messages" not in body:
        raise InputError(f"The model '{body.get('model')}' takes no chat requests. Set LLM_MODEL to one that does.")
    body.pop("stream", None)
    return body


def export_batch(
    llm: BaseChatModel,
    prompts: Iterable[Sequence[BaseMessage]],
    cache: ReplyCache,
    file: Path,
    *,
    most_requests: int = MOST_REQUESTS,
    most_bytes: int = MOST_BYTES,
) -> list[Path]:
    """The files written, none if `cache` knows every reply: `file`, and file-2, file-3 ... where one would be too big.

    Each line asks for one reply that `cache` lacks, once; its custom_id is the request's key. Files of an earlier
    export give way. `InputError` if the LLM is not at a provider, or no file takes a request.
    """
    written: list[Path] = []
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for number, lines in enumerate(_split(_lines(llm, prompts, cache), most_requests, most_bytes), start=1):
            part = _part(file, number)
            beside = part.with_name(part.name + ".partial")
            beside.write_bytes(b"".join(lines))
            written.append(beside.replace(part))
        number = len(written) + 1
        while _is_export(_part(file, number)):  # it would be answered, and paid for, a second time
            _part(file, number).unlink()
            number += 1
    except OSError as error:
        raise StoreError(f"Writing to {file} failed: {error.strerror}. Free some space and run again.") from error
    return written


def import_batch(file: Path, cache: ReplyCache) -> BatchReplies:
    """What came of the batch's output `file`; its replies are in `cache` now, so the same run goes on without asking.

    Failed lines are left out and asked again by the run. `InputError` if the file cannot be read, or is something
    else.
    """
    failed: list[str] = []
    n_records = n_replies = prompt_tokens = reply_tokens = 0
    for number, line in _read_lines(file):
        try:
            key, reply, usage = _reply(line)
        except _FailedLineError as error:
            failed.append(f"line {number}: {error}")
            n_records += error.is_record
            continue
        cache.put(key, reply)
        n_records += 1
        n_replies += 1
        prompt_tokens += usage.get("prompt_tokens") or 0
        reply_tokens += usage.get("completion_tokens") or 0
    if not n_records:
        raise _no_output(file, "no line of it has a response or an error")
    return BatchReplies(
        n_replies=n_replies, failed=tuple(failed), prompt_tokens=prompt_tokens, reply_tokens=reply_tokens
    )


def _read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line that is not empty."""
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            yield from ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    except OSError as error:
        raise _no_output(file, error.strerror or str(error)) from error


def _no_output(file: Path, why: str) -> InputError:
    return InputError(
        f"'{file}' cannot be read as the output of a batch ({why}). Give the .jsonl file that the batch service "
        "offers when the batch is complete."
    )


class _FailedLineError(Exception):
    """A line without a reply; the message says why. `is_record`: it is one that a batch service writes."""

    def __init__(self, why: str, *, is_record: bool = True) -> None:
        super().__init__(why)
        self.is_record = is_record


def _lines(llm: BaseChatModel, prompts: Iterable[Sequence[BaseMessage]], cache: ReplyCache) -> Iterator[bytes]:
    seen: set[str] = set()
    for messages in prompts:
        key = request_key(llm, messages)
        if key in seen or cache.get(key) is not None:
            continue
        seen.add(key)
        request = {"custom_id": key, **_REQUEST, "body": request_body(llm, messages)}
        yield json.dumps(request).encode() + b"\n"


def _split(lines: Iterable[bytes], most_requests: int, most_bytes: int) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for line in lines:
        if len(line) > most_bytes:
            raise InputError(
                f"A request has {len(line)} bytes, a batch file at most {most_bytes}. Show fewer passages."
            )
        if part and (len(part) == most_requests or size + len(line) > most_bytes):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line)
    if part:
        yield part


def _part(file: Path, number: int) -> Path:
    return file if number == 1 else file.with_name(f"{file.stem}-{number}{file.suffix}")


def _is_export(file: Path) -> bool:
    """Whether an earlier export wrote `file`: what a batch service answered may have been given such a name."""
    if not file.is_file():
        return False
    with file.open("rb") as lines:
        return json.dumps(_REQUEST)[1:-1].encode() in lines.readline()


def _reply(line: str) -> tuple[str, str, dict[str, int]]:
    """(key, reply, tokens) of a line of the output."""
    try:
        record: Any = json.loads(line)
        key = record["custom_id"]
        if not record.keys() & {"response", "error"}:
            raise KeyError
        response, error = record.get("response") or {}, record.get("error")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _FailedLineError("no record of a batch's output", is_record=False) from None
    if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{64}", key):
        raise _FailedLineError(f"custom_id {str(key)[:80]!r} is none that was exported here")
    try:
        reply = response["body"]["choices"][0]["message"]["content"]
        usage = response["body"].get("usage") or {}
    except (KeyError, IndexError, TypeError, AttributeError):
        reply, usage = None, {}
    if error or not isinstance(reply, str) or not reply.strip():
        raise _FailedLineError(f"{key}: {_reason(response, error)}")
    return key, reply, usage


def _reason(response: Any, error: Any) -> str:
    body = response.get("body") if isinstance(response, dict) else None
    said = error or (body.get("error") if isinstance(body, dict) else None)
    words = said.get("message") if isinstance(said, dict) else said
    return without_keys(" ".join(str(words or "no reply").split()))[:_LONGEST_REASON]


class PostponedError(Exception):
    """The request was put into a batch: what asked for it cannot go on now."""


class BatchWaitsError(LLMError):
    """Requests are in batch files, and have to be answered before the work can go on."""


class Postponement:
    """Instead of asking: the requests of a piece of work, collected until its end and then in batch files."""

    def __init__(self, llm: BaseChatModel, file: Path, cache: ReplyCache) -> None:
        request_body(llm, [])  # refused now rather than after the work
        self._llm = llm
        self._file = file
        self._cache = cache
        self._prompts: dict[str, Sequence[BaseMessage]] = {}

    def add(self, messages: Sequence[BaseMessage]) -> PostponedError:
        """Collects a request; what to raise where its reply was wanted."""
        self._prompts[request_key(self._llm, messages)] = messages
        return PostponedError()

    def finish(self) -> None:
        """Writes what was collected, if anything, and then raises `BatchWaitsError`."""
        if not self._prompts:
            return
        files = export_batch(self._llm, self._prompts.values(), self._cache, self._file)
        n, self._prompts = len(self._prompts), {}
        raise BatchWaitsError(
            f"{n} requests are in {', '.join(map(str, files))}. Have the provider's batch service answer them, import "
            "the file that it offers then, and give the same command again to go on."
        )
