"""Where a run is, in a file that others read while it goes on and after it has ended, however it ended."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from distill.json_files import peek_json, write_json
from distill.run import Event
from indexes.errors import UserError

_MOST_REMARKS = 40
_DEFECT = "It ended by a defect of the program; the log shows where."

Spent = Callable[[], Mapping[str, float | None]]


class ProgressFile:
    """A `Report` that keeps `file` up to date, once its folder is there: stages, remarks, spend, a heartbeat, its end.

    The file is replaced as a whole, at most every `every_s` seconds, and every `beat_s` even if nothing happens, so
    that a reader can tell slow work from dead. A run that goes on adds to what it had reported before. `spent` has what
    the run has asked the LLM so far; no key, prompt or reply ever stands in the file.
    """

    def __init__(self, file: Path, spent: Spent = dict, *, every_s: float = 0.5, beat_s: float = 5.0) -> None:
        self._file = file
        self._spent = spent
        self._every_s = every_s
        self._beat_s = beat_s
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._written_at = 0.0
        self._state: dict[str, Any] = {}

    def __enter__(self) -> ProgressFile:
        before = peek_json(self._file)
        self._state = {
            "pid": os.getpid(),
            "born": psutil.Process().create_time(),
            "begun": time.time(),
            "stage": "",
            "stages": dict(before.get("stages") or {}),
            "remarks": list(before.get("remarks") or []),
            "note": "",
            "end": None,
        }
        self._write()
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        how, sentence = _end(error)
        with self._lock:
            if how == "done" and self._state["stage"]:
                self._close(self._state["stage"])
            self._state["note"] = ""
            self._state["end"] = {"how": how, "sentence": sentence, "at": time.time()}
            self._write()

    def __call__(self, event: Event) -> None:
        """Takes an event; a stage that begins ends the one before it."""
        with self._lock:
            now = time.time()
            is_news = event.stage != self._state["stage"] or (event.remark and not event.total)
            if event.stage != self._state["stage"]:
                if self._state["stage"]:
                    self._close(self._state["stage"])
                self._state |= {"stage": event.stage, "note": ""}
            stage = self._state["stages"].setdefault(event.stage, {"began": now})
            stage.pop("ended", None)
            if event.total:
                if stage.get("total") != event.total or stage.get("label") != event.remark:
                    stage |= {"counted_from": now, "first": event.done}
                stage |= {"done": event.done, "total": event.total, "label": event.remark}
            elif event.remark:
                self._remark(event.stage, event.remark, now)
            if is_news or event.done == event.total or now - self._written_at >= self._every_s:
                self._write()

    def say(self, text: str) -> None:
        """Takes a line on what is being waited for, such as weights that are fetched."""
        with self._lock:
            self._state["note"] = text
            if time.time() - self._written_at >= self._every_s:
                self._write()

    def _remark(self, stage: str, text: str, now: float) -> None:
        kept = [each for each in self._state["remarks"] if each["text"] != text]
        self._state["remarks"] = [*kept, {"at": now, "stage": stage, "text": text}][-_MOST_REMARKS:]

    def _close(self, stage: str) -> None:
        self._state["stages"][stage].setdefault("ended", time.time())

    def _beat(self) -> None:
        while not self._over.wait(self._beat_s):
            with self._lock:
                self._write()

    def _write(self) -> None:
        self._written_at = time.time()
        self._state |= {"beat": self._written_at, "spend": dict(self._spent())}
        with suppress(OSError):  # a full disk ends the run where it writes what it is for, and says so there
            write_json(self._file, self._state)


def _end(error: BaseException | None) -> tuple[str, str]:
    if error is None:
        return "done", ""
    if isinstance(error, UserError):
        return "failed", str(error)
    return ("failed", _DEFECT) if isinstance(error, Exception) else ("stopped", "")
