"""The page sees the latest value of each worker, and not every one."""

from __future__ import annotations

import threading
import time

import pytest

from app.streaming import Publish, Stopped, follow


def never() -> bool:
    return False


def test_the_last_values_always_come() -> None:
    def work(publish: Publish[int], stopped: Stopped) -> None:
        for value in range(1000):
            publish(value)

    seen = list(follow([work, work], [-1, -1], never, interval_s=0.01))
    assert seen[-1] == (999, 999)


def test_a_fast_worker_does_not_flood_the_page() -> None:
    def work(publish: Publish[int], stopped: Stopped) -> None:
        for value in range(300):
            publish(value)
            time.sleep(0.001)

    started = time.monotonic()
    n_updates = sum(1 for _ in follow([work], [0], never, interval_s=0.05))
    assert n_updates <= (time.monotonic() - started) / 0.05 + 4


def test_the_first_word_and_the_last_do_not_wait_for_the_interval() -> None:
    def work(publish: Publish[str], stopped: Stopped) -> None:
        for notice in ("connecting", "reading", "The"):
            publish(notice)
            time.sleep(0.02)
        publish("The end.")

    assert [value for (value,) in follow([work], [""], never, interval_s=3600)][-2:] == ["The", "The end."]


def test_stop_ends_at_once_while_a_worker_still_waits() -> None:
    released, pressed = threading.Event(), threading.Event()

    def work(publish: Publish[str], stopped: Stopped) -> None:
        publish("waiting")
        pressed.set()
        released.wait(30)

    started = time.monotonic()
    seen = list(follow([work], [""], pressed.is_set, interval_s=0.01))
    released.set()
    assert time.monotonic() - started < 5
    assert len(seen) <= 1


def test_workers_are_told_when_the_page_is_gone() -> None:
    told = threading.Event()

    def work(publish: Publish[int], stopped: Stopped) -> None:
        publish(1)
        while not stopped():
            time.sleep(0.005)
        told.set()

    updates = follow([work], [0], never, interval_s=0.01)
    assert next(updates) == (1,)
    updates.close()  # type: ignore[attr-defined]
    assert told.wait(5)


def test_an_exception_of_a_worker_reaches_the_page() -> None:
    def work(publish: Publish[int], stopped: Stopped) -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        list(follow([work], [0], never))
