"""Several workers, one page: the latest value of each, not more often than a page needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

Publish = Callable[[T], None]
Stopped = Callable[[], bool]
Worker = Callable[[Publish[T], Stopped], None]

UPDATE_INTERVAL_S = 0.1  # an update costs 5 to 10 ms of the CPU: token by token a local LLM would have little left
_N_AT_ONCE = 3  # what is waited for, that it is being read, and the first word come without delay
_POLL_S = 0.05


class _Board:
    """The latest values, and whether they have been seen."""

    def __init__(self, values: list[object]) -> None:
        self.values = values
        self.changed = threading.Condition()
        self.is_new = False
        self.n_running = 0
        self.error: BaseException | None = None
        self.closed = False


def follow(
    workers: Sequence[Worker[T]], start: Sequence[T], stopped: Stopped, interval_s: float = UPDATE_INTERVAL_S
) -> Iterator[tuple[T, ...]]:
    """The latest published value of each worker, at most every `interval_s`; the first and the last ones come at once.

    Each worker runs in a thread of its own. The iterator ends when all have ended or `stopped()`; workers are told
    through their own `stopped` and not waited for. An exception of a worker is raised here.
    """
    board = _Board(list(start))
    board.n_running = len(workers)
    for place, worker in enumerate(workers):
        threading.Thread(target=_run, args=(board, place, worker, stopped), daemon=True).start()
    try:
        running, n_seen = True, 0
        while running and not stopped():
            running = _wait(board, stopped)
            yield _snapshot(board)
            n_seen += 1
            if running and n_seen >= _N_AT_ONCE:
                _rest(board, interval_s)
    finally:
        board.closed = True
    if board.error is not None:
        raise board.error


def _run(board: _Board, place: int, worker: Worker[T], stopped: Stopped) -> None:
    def publish(value: T) -> None:
        with board.changed:
            board.values[place] = value
            board.is_new = True
            board.changed.notify()

    try:
        worker(publish, lambda: board.closed or stopped())
    except BaseException as error:  # noqa: BLE001 - raised again where the page is
        board.error = error
    finally:
        with board.changed:
            board.n_running -= 1
            board.changed.notify()


def _wait(board: _Board, stopped: Stopped) -> bool:
    """Waits for news; whether more may come after it."""
    with board.changed:
        while not board.is_new and board.n_running and not stopped():
            board.changed.wait(_POLL_S)
        board.is_new = False
        return board.n_running > 0


def _rest(board: _Board, interval_s: float) -> None:
    """Waits `interval_s`, or until the last worker has ended: what it published last is not held back."""
    until = time.monotonic() + interval_s
    with board.changed:
        while board.n_running and (left := until - time.monotonic()) > 0:
            board.changed.wait(left)


def _snapshot(board: _Board) -> tuple[T, ...]:
    with board.changed:
        return tuple(board.values)  # type: ignore[arg-type]
