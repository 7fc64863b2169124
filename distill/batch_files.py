"""Requests as files for a provider's batch service, which is slower and cheaper, and its replies into the memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from distill.reply_cache import ReplyCache, request_key
from indexes.errors import InputError

MOST_REQUESTS = 50_000  # what OpenAI's batch service takes in one file
MOST_BYTES = 200_000_000
_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReplies:
    """What an output file held: replies that are remembered now, and for each other line its name and why."""

    n_replies: int
    failed: tuple[str, ...]


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

    Each line asks for one reply that `cache` lacks, once; its custom_id is the request's key.
    """
    written: list[Path] = []
    for number, lines in enumerate(_split(_lines(llm, prompts, cache), most_requests, most_bytes), start=1):
        part = file if number == 1 else file.with_name(f"{file.stem}-{number}{file.suffix}")
        part.write_bytes(b"".join(lines))
        written.append(part)
    return written


def import_batch(file: Path, cache: ReplyCache) -> BatchReplies:
    """What came of the batch's output `file`; its replies are in `cache` now, so the same run goes on without asking.

    Failed lines are left out and asked again by the run. `InputError` if the file cannot be read.
    """
    failed: list[str] = []
    n_replies = 0
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    key, reply = _reply(line)
                except _FailedLineError as error:
                    failed.append(f"line {number}: {error}")
                else:
                    cache.put(key, reply)
                    n_replies += 1
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"'{file}' cannot be read as the output of a batch ({error}). Give the .jsonl file that the batch service "
            "offers when the batch is complete."
        ) from error
    return BatchReplies(n_replies=n_replies, failed=tuple(failed))


class _FailedLineError(Exception):
    """A line without a reply; the message says why."""


def _lines(llm: BaseChatModel, prompts: Iterable[Sequence[BaseMessage]], cache: ReplyCache) -> Iterator[bytes]:
    seen: set[str] = set()
    payload: Any = llm
    for messages in prompts:
        key = request_key(llm, messages)
        if key in seen or cache.get(key) is not None:
            continue
        seen.add(key)
        # The client's own translation, so that the batch asks exactly what the run would have asked.
        body = payload._get_request_payload(list(messages))
        body.pop("stream", None)
        request = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        yield json.dumps(request).encode() + b"\n"


def _split(lines: Iterable[bytes], most_requests: int, most_bytes: int) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for line in lines:
        if part and (len(part) == most_requests or size + len(line) > most_bytes):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line)
    if part:
        yield part


def _reply(line: str) -> tuple[str, str]:
    """(key, reply) of a line of the output."""
    try:
        record: Any = json.loads(line)
        key = record["custom_id"]
        response, error = record.get("response") or {}, record.get("error")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _FailedLineError("no record of a batch's output") from None
    if not isinstance(key, str) or not re.fullmatch(r"[0-9a-f]{64}", key):
        raise _FailedLineError(f"custom_id {str(key)[:80]!r} is none that was exported here")
    try:
        reply = response["body"]["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        reply = None
    if error or not isinstance(reply, str) or not reply.strip():
        raise _FailedLineError(f"{key}: {_reason(response, error)}")
    return key, reply


def _reason(response: Any, error: Any) -> str:
    body = response.get("body") if isinstance(response, dict) else None
    said = error or (body.get("error") if isinstance(body, dict) else None)
    words = said.get("message") if isinstance(said, dict) else said
    return " ".join(str(words or "no reply").split())[:_LONGEST_REASON]
