"""Growing answers: what the LLM reads of what was found, and several workers that one page shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from app.answering import Answer, Turn, answer_question, fail, stand_alone
from app.retriever import Retrieval
from app.workbench import Workbench
from distill.prompts import NO_ANSWER
from indexes.errors import InputError, UserError
from indexes.observing import answering, new_request, step
from indexes.types import Passage

T = TypeVar("T")

Publish = Callable[[T], None]
Stopped = Callable[[], bool]
Worker = Callable[[Publish[T], Stopped], None]

UPDATE_INTERVAL_S = 0.1  # an update costs 5 to 10 ms of the CPU: token by token a local LLM would have little left
_N_AT_ONCE = 3  # what is waited for, that it is being read, and the first word come without delay
_POLL_S = 0.05


def follow(
    workers: Sequence[Worker[T]], start: Sequence[T], stopped: Stopped, interval_s: float = UPDATE_INTERVAL_S
) -> Iterator[tuple[T, ...]]:
    """The latest published value of each worker, at most every `interval_s`; the first and the last ones come at once.

    Each worker runs in a thread of its own. The iterator ends when all have ended or `stopped()`; workers are told
    through their own `stopped` and not waited for. An exception of a worker is raised here.
    """
    latest, running, errors = list(start), set(range(len(workers))), list[BaseException]()
    changed, ended, closed = (threading.Event() for _ in range(3))

    def run(place: int, worker: Worker[T]) -> None:
        def publish(value: T) -> None:
            latest[place] = value
            changed.set()

        try:
            worker(publish, lambda: closed.is_set() or stopped())
        except BaseException as error:  # noqa: BLE001 - raised again where the page is
            errors.append(error)
        running.discard(place)
        if not running:
            ended.set()
        changed.set()

    for place, worker in enumerate(workers):
        threading.Thread(target=run, args=(place, worker), daemon=True).start()
    is_last, n_seen = False, 0
    try:
        while not (is_last or stopped()):
            while running and not (changed.wait(_POLL_S) or stopped()):
                pass
            changed.clear()
            is_last = not running  # before the values are read: what comes after is news again
            yield tuple(latest)
            n_seen += 1
            if n_seen >= _N_AT_ONCE:
                ended.wait(interval_s)
    finally:
        closed.set()
    if errors:
        raise errors[0]


N_SHOWN = 10
N_READ = 5  # a local LLM reads about 60 tokens a second on two cores: five passages are what one waits for
MAX_QUESTION_CHARACTERS = 4000


def check_question(question: str) -> str:
    """`question` without blanks around it; raises `InputError` for an empty or endless one."""
    question = question.strip()
    if not question:
        raise InputError("Type a question first.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InputError(
            f"The question has {len(question):,} characters; at most {MAX_QUESTION_CHARACTERS:,} are read. Shorten it."
        )
    return question


def find_standalone(bench: Workbench, turns: Sequence[Turn], question: str, stopped: Stopped) -> tuple[str, str]:
    """`question` as a search understands it without the turns before, and a remark where that could not be found."""

    as_typed = question, "Searched as typed, without the questions before it."

    def work(publish: Publish[tuple[str, str]], stopped: Stopped) -> None:
        try:
            publish((stand_alone(bench.reader.connect(lambda status: None), turns, question), ""))
        except UserError as error:
            publish((question, f"Searched as typed, without the questions before it: {error}"))

    *_, (latest,) = [(as_typed,), *follow([work], [as_typed], stopped)]
    return latest


def passages_to_read(retrieval: Retrieval) -> list[Passage]:
    """The passages that the answer is written from, in the order in which they are shown: it binds the citations."""
    return [candidate.passage for candidate in retrieval.candidates[:N_READ]]


def write_answers(
    bench: Workbench, question: str, passages: Sequence[Sequence[Passage]], stopped: Stopped, request: str = ""
) -> Iterator[tuple[Answer, ...]]:
    """The growing answers to `question`, one for each list of passages; at the end none is left waiting."""
    request = request or new_request()
    start = [Answer(n_passages=len(each), notice="Asking the LLM …") for each in passages]
    latest = tuple(start)
    for latest in follow([_writer(bench, question, each, request) for each in passages], start, stopped):
        yield latest
    if stopped():
        yield tuple(_stop(answer) for answer in latest)


def whole_answers(
    bench: Workbench, question: str, found: Sequence[Retrieval], stopped: Stopped = lambda: False
) -> tuple[Answer, ...]:
    """The answers to `question` as they are in the end, one for each list of what was `found`."""
    *_, last = write_answers(bench, question, [passages_to_read(each) for each in found], stopped)
    return last


def _stop(answer: Answer) -> Answer:
    notice = "Stopped." if answer.text else "No answer was written: read the passages instead."
    return replace(answer, state="stopped", notice=notice) if answer.state in ("waiting", "writing") else answer


def _writer(bench: Workbench, question: str, passages: Sequence[Passage], request: str) -> Worker[Answer]:
    waiting = Answer(n_passages=len(passages))

    def work(publish: Publish[Answer], stopped: Stopped) -> None:
        if not passages:
            publish(replace(waiting, state="done", text=NO_ANSWER))
            return
        with answering(request), step("answer", llm=bench.reader.name):
            started = time.perf_counter()
            try:
                llm = bench.reader.connect(lambda status: publish(replace(waiting, notice=f"{status} …")))
            except UserError as error:
                publish(fail(waiting, str(error), 0.0))
                return
            publish(replace(waiting, notice=f"The LLM is reading the first {len(passages)} passages …"))
            before_s = time.perf_counter() - started  # an LLM that has to start first is waited for too
            for answer in answer_question(llm, question, passages):
                if stopped():
                    return
                first_s = None if answer.first_word_s is None else before_s + answer.first_word_s
                publish(replace(answer, first_word_s=first_s, took_s=before_s + answer.took_s))

    return work
