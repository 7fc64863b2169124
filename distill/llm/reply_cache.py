"""The LLM's replies: read, kept on disk by the exact request so that none is paid for twice, taken from batches."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from distill.llm.embedded import EMBEDDED_HEADER, is_embedded
from indexes.errors import InputError, StoreError

_BUSY_TIMEOUT_S = 30.0
_PRIMARY_CODE = 0xFF  # of SQLite's extended error codes


_THINKING = re.compile(r"<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"\A.*</(?:think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)  # begun in the prompt
_TAG_BEGUN = re.compile(r"<[a-z]{0,9}\Z", re.IGNORECASE)


def without_thinking(text: str, *, is_whole: bool = True) -> str:
    """What an LLM said for all to hear, in characters that any file takes; of a text that still grows, without the tag
    that its end may be the beginning of.
    """
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # halves of characters
    said = _THOUGHT.sub("", _THINKING.sub("", text)) if "<" in text else text
    said = said if said == text else said.lstrip()
    return said if is_whole else _TAG_BEGUN.sub("", said)


def without_keys(text: str) -> str:
    """`text` with *** in place of what looks like a key."""
    return re.sub(r"\b(sk|key|Bearer)[-_ ][\w*.-]{6,}", "***", text)


INCOMPLETE = {
    "length": "was cut at the limit of its length",
    "content_filter": "was held back by the endpoint's content filter",
}


def how_ended(message: Any) -> str:
    """Why a reply, or the last piece of a streamed one, is not all that the LLM would have said; "" if it is."""
    reason = (getattr(message, "response_metadata", None) or {}).get("finish_reason")
    return INCOMPLETE.get(reason, "") if isinstance(reason, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an LLM said, without its thoughts, why it ended, and the tokens that were counted, if they were."""

    text: str
    finish: str | None
    usage: dict[str, int] | None


def read_reply(value: Any) -> Reply:
    """The first choice of a chat completion; `LookupError`, `TypeError` or `AttributeError` where it is none."""
    choice = value["choices"][0]
    message, finish = choice["message"], choice.get("finish_reason")
    text = without_thinking(_text(message.get("content")) or _text(message.get("refusal")))
    return Reply(text=text, finish=finish if isinstance(finish, str) else None, usage=_usage(value.get("usage")))


def _text(content: Any) -> str:
    """The text of a message's content, which may come in parts, some of them thoughts; `TypeError` for others."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content if part.get("type", "text") == "text")


def _usage(usage: Any) -> dict[str, int] | None:
    """Tokens read and written, None where they were not counted, or not in numbers."""
    try:
        read, written = usage["prompt_tokens"], usage["completion_tokens"]
    except (LookupError, TypeError):
        return None
    if not all(isinstance(n, int) and 0 <= n < 10**9 for n in (read, written)) or not read:
        return None
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def request_key(llm: BaseChatModel, messages: Sequence[BaseMessage]) -> str:
    """A hash of all that decides a reply: endpoint, model, sampling parameters and messages; no key is in it.

    An embedded server's changing port is left out, and so is how stubbornly is asked.
    """
    about: Any = llm
    parameters = {"temperature": about.temperature, "max_tokens": about.max_tokens}
    address = "" if is_embedded(llm) else str(about.openai_api_base)
    identity = _identity(address, str(about.model_name), parameters)
    said = [(message.type, message.content) for message in messages]
    text = json.dumps([identity, said], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _identity(base_url: str, model: str, parameters: Mapping[str, Any]) -> str:
    """Who is asked (at "": the embedded one) and how, in words that never change: paid replies are found by them.

    They were LangChain's own once (its `_get_llm_string`, which may change with each version), and are kept as they
    were then, its constructor's included, so that nothing is paid for again.
    """
    name = "ChatOpenAI" if base_url else "EmbeddedChat"
    given = {
        "model_name": model,
        "openai_api_base": base_url or "embedded",
        "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"},
        "request_timeout": {"id": ["openai", "Timeout"], "lc": 1, "type": "not_implemented"},
        **{key: value for key, value in parameters.items() if value is not None},
        **({"default_headers": {EMBEDDED_HEADER: model}, "stream_usage": True} if not base_url else {}),
    }
    shape = {"id": ["langchain", "chat_models", "openai", name], "kwargs": given, "lc": 1, "name": name}
    return json.dumps(shape | {"type": "constructor"}, sort_keys=True) + "---[('stop', None)]"


class ReplyCache:
    """Replies by request key in one SQLite file that several threads and processes may share.

    A damaged file is put aside, which `on_status` is told. One that cannot be written or stays locked is a
    `StoreError`.
    """

    def __init__(
        self,
        file: Path,
        on_status: Callable[[str], None] = lambda text: None,
        *,
        busy_timeout_s: float = _BUSY_TIMEOUT_S,
    ) -> None:
        self._file = file
        self._busy_timeout_s = busy_timeout_s
        self._on_status = on_status
        self._lock = threading.Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        self._connection: sqlite3.Connection | None = None
        self._execute("SELECT 1")  # what is wrong with the file is said now

    def get(self, key: str) -> str | None:
        """The reply to the request, None if it was never made or was empty, which earlier versions kept."""
        row = self._execute("SELECT reply FROM replies WHERE key = ? AND reply != ''", key)
        return None if row is None else str(row[0])

    def put(self, key: str, reply: str) -> None:
        """Remembers a reply."""
        self._execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", key, reply)

    def _execute(self, statement: str, *values: str) -> tuple[object, ...] | None:
        """The first row, if any; of a new file where the old one turns out to be damaged."""
        with self._lock:
            try:
                return self._first_row(statement, values)
            except sqlite3.DatabaseError as error:
                self._refuse_unless_damaged(error)
                self._put_aside()
                return self._first_row(statement, values)

    def _first_row(self, statement: str, values: tuple[str, ...]) -> tuple[object, ...] | None:
        self._connection = self._connection or self._open()
        row: tuple[object, ...] | None = self._connection.execute(statement, values).fetchone()
        return row

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=self._busy_timeout_s, check_same_thread=False, isolation_level=None
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # A power cut may take the last replies, never the file. Waiting for the disk would hold up the requests.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _put_aside(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None
        aside = self._file.with_name(self._file.name + ".damaged")
        self._file.replace(aside)
        for end in ("-wal", "-shm"):  # SQLite would replay the old file's log into the new one
            self._file.with_name(self._file.name + end).unlink(missing_ok=True)
        self._on_status(
            f"The memory of LLM replies, {self._file}, was damaged. It was put aside as {aside.name}; a new one begins."
        )

    def _refuse_unless_damaged(self, error: sqlite3.DatabaseError) -> None:
        """Raises a `StoreError` for a file that is whole but locked, full or forbidden: it holds what was paid for."""
        if getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise self._unusable(str(error)) from error

    def _unusable(self, why: str) -> StoreError:
        return StoreError(
            f"The memory of LLM replies, {self._file}, cannot be read and written ({why}). Check DATA_DIR's space and "
            "rights, and whether another program holds the file, then start again."
        )


_LONGEST_REASON = 200
_REASONS_SHOWN = 5


def import_batch(file: Path, cache: ReplyCache) -> str:
    """What came of the batch's output `file`, in a sentence; its replies are in `cache` now, so the same run goes on
    without asking.

    Failed lines are left out and asked again by the run. `InputError` if the file cannot be read, or is something
    else.
    """
    failed: list[str] = []
    usages: list[dict[str, int]] = []
    n_records = 0
    for number, line in _read_lines(file):
        key, reply, why = _record(line)
        n_records += bool(key)
        if reply is None:
            failed.append(f"line {number}: {why}")
        else:
            cache.put(key, reply.text)
            usages.append(reply.usage or {})
    if not n_records:
        raise _no_output(file, "no line of it has a response or an error")
    read, written = (sum(each.get(f"{name}_tokens", 0) for each in usages) for name in ("prompt", "completion"))
    shown = "; ".join(failed[:_REASONS_SHOWN]) + ("; ..." if len(failed) > _REASONS_SHOWN else "")
    again = f" Without a reply, and asked again: {len(failed)} ({shown})." if failed else ""
    return f"{len(usages)} replies came ({read} tokens read, {written} written).{again}"


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


def _record(line: str) -> tuple[str, Reply | None, str]:
    """(custom_id, reply, why there is none) of a line of the output; custom_id is "" where it is no such line."""
    try:
        record: Any = json.loads(line)
        key = str(record["custom_id"])
        if not record.keys() & {"response", "error"}:
            raise KeyError
        response, error = record.get("response") or {}, record.get("error")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return "", None, "no record of a batch's output"
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        return key, None, f"custom_id {key[:80]!r} is none that was exported here"
    try:
        reply = read_reply(response["body"])
    except (LookupError, TypeError, AttributeError):
        reply = None
    cut = INCOMPLETE.get(reply.finish or "", "") if reply else ""
    if error or cut or not reply or not reply.text.strip():
        return key, None, f"{key}: {cut or _reason(response, error)}"
    return key, reply, ""


def _reason(response: Any, error: Any) -> str:
    body = response.get("body") if isinstance(response, dict) else None
    said = error or (body.get("error") if isinstance(body, dict) else None)
    words = said.get("message") if isinstance(said, dict) else said
    return without_keys(" ".join(str(words or "no reply").split()))[:_LONGEST_REASON]
