"""What the LLM has replied already, on disk, by the exact request: asking again costs nothing."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from indexes.errors import StoreError

_BUSY_TIMEOUT_S = 30.0
_RETRIES = re.compile(r'"max_retries": \d+(, )?')  # how stubbornly is asked changes no reply
_PRIMARY_CODE = 0xFF  # of SQLite's extended error codes


def request_key(llm: BaseChatModel, messages: Sequence[BaseMessage]) -> str:
    """A hash of all that decides a reply: endpoint, model, sampling parameters and messages; no key is in it.

    The LLM's own identity for LangChain's caches is taken; an embedded server's leaves its changing port out.
    """
    identity = _RETRIES.sub("", llm._get_llm_string())
    said = [(message.type, message.content) for message in messages]
    text = json.dumps([identity, said], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


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
        self._connection = self._open_or_renew()

    def get(self, key: str) -> str | None:
        """The reply to the request, None if it was never made."""
        row = self._execute("SELECT reply FROM replies WHERE key = ?", (key,))
        return None if row is None else str(row[0])

    def put(self, key: str, reply: str) -> None:
        """Remembers a reply."""
        self._execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, reply))

    def _execute(self, statement: str, values: tuple[str, ...]) -> tuple[object, ...] | None:
        """The first row, if any; on a file whose damage shows only now, of a new file."""
        with self._lock:
            try:
                return self._first_row(statement, values)
            except sqlite3.DatabaseError as error:
                self._refuse_unless_damaged(error)
                self._connection.close()
                self._put_aside()
                self._connection = self._open_or_renew()
                return self._first_row(statement, values)

    def _first_row(self, statement: str, values: tuple[str, ...]) -> tuple[object, ...] | None:
        row: tuple[object, ...] | None = self._connection.execute(statement, values).fetchone()
        return row

    def _open_or_renew(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            self._refuse_unless_damaged(error)
            self._put_aside()
            return self._open()

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
