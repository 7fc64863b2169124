"""What the LLM has replied already, on disk, by the exact request: asking again costs nothing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

_BUSY_TIMEOUT_S = 30.0


def request_key(llm: BaseChatModel, messages: Sequence[BaseMessage]) -> str:
    """A hash of all that decides a reply: endpoint, model, sampling parameters and messages; no key is in it.

    The LLM's own identity for LangChain's caches is taken; an embedded server's leaves its changing port out.
    """
    identity = llm._get_llm_string()
    said = [(message.type, message.content) for message in messages]
    text = json.dumps([identity, said], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class ReplyCache:
    """Replies by request key in one SQLite file that several threads and processes may share."""

    def __init__(self, file: Path, on_status: Callable[[str], None] = lambda text: None) -> None:
        self._file = file
        self._lock = threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError:
            aside = file.with_name(file.name + ".damaged")
            file.replace(aside)
            on_status(
                f"The memory of LLM replies, {file}, was damaged. It was put aside as {aside.name}; a new one begins."
            )
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL)")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def get(self, key: str) -> str | None:
        """The reply to the request, None if it was never made."""
        with self._lock:
            row = self._connection.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, reply: str) -> None:
        """Remembers a reply."""
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply))
