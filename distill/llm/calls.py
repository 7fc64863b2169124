"""Many requests to one LLM: a set number at a time, or put off as a file for a provider's batch service."""

from __future__ import annotations

import asyncio
import json
import math
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from distill.llm.connection import EMBEDDED_TIMEOUT_S, llm_errors
from distill.llm.embedded import is_embedded
from distill.llm.reply_cache import ReplyCache, how_ended, request_key
from distill.llm.spending import Meter
from indexes.errors import BudgetSpentError, InputError, LLMError, LLMRefusedError, LLMUnavailableError
from indexes.paths import write_file

MOST_REQUESTS = 50_000  # what OpenAI's batch service takes in one file
MOST_BYTES = 200_000_000
_REQUEST = {"method": "POST", "url": "/v1/chat/completions"}


def no_provider() -> InputError:
    """What to say where nobody could answer a batch."""
    return InputError(
        "A batch is answered by a provider, but the LLM is not at one. Set OPENAI_API_KEY, or OPENAI_BASE_URL, or ask "
        "without batches."
    )


def request_body(llm: BaseChatModel, messages: Sequence[BaseMessage]) -> dict[str, Any]:
    """What the client would send, by its own translation, so that the batch asks exactly what the run would ask."""
    from distill.llm.wire import fitted, habits_of

    translate = getattr(llm, "_get_request_payload", None)
    if translate is None or is_embedded(llm):
        raise no_provider()
    body: dict[str, Any] = translate(list(messages))
    if "messages" not in body:
        raise InputError(f"The model '{body.get('model')}' takes no chat requests. Set LLM_MODEL to one that does.")
    body.pop("stream", None)
    return fitted(body, habits_of(str(getattr(llm, "openai_api_base", "")), str(body["model"])))


class PostponedError(Exception):
    """The request was put into a batch: what asked for it cannot go on now."""


class BatchWaitsError(LLMError):
    """Requests are in a batch file, and have to be answered before the work can go on."""


class Postponement:
    """Instead of asking: the requests of a piece of work, collected until its end and then in a batch file.

    Each line asks for one reply, once; its custom_id is the request's key. What one file may not hold is asked for when
    the same work goes on from the replies to the others. `InputError` if the LLM is not at a provider.
    """

    def __init__(self, llm: BaseChatModel, file: Path, *, most_requests: int = MOST_REQUESTS) -> None:
        request_body(llm, [])  # refused now rather than after the work
        self._llm = llm
        self._file = file
        self._most_requests = most_requests
        self._lines: dict[str, bytes] = {}

    def add(self, messages: Sequence[BaseMessage]) -> PostponedError:
        """Collects a request; what to raise where its reply was wanted."""
        key = request_key(self._llm, messages)
        request = {"custom_id": key, **_REQUEST, "body": request_body(self._llm, messages)}
        self._lines[key] = json.dumps(request).encode() + b"\n"
        return PostponedError()

    def finish(self) -> None:
        """Writes what was collected, if anything, and then raises `BatchWaitsError`."""
        lines, self._lines = list(self._lines.values()), {}
        if not lines:
            return
        n = sum(size <= MOST_BYTES for size in accumulate(map(len, lines[: self._most_requests])))
        write_file(self._file, b"".join(lines[:n]))
        others = f" (of {len(lines)}; the others come in the next file)" if n < len(lines) else ""
        raise BatchWaitsError(
            f"{n} requests{others} are in {self._file}. Have the provider's batch service answer them, import the file "
            "that it offers then, and give the same command again to go on."
        )


T = TypeVar("T")
Job = Callable[["Asker"], Awaitable[T]]
MOST_FAILED = 0.2  # of at least so many jobs; our choice, as is how many in a row say that no other will do better
LEAST_JOBS = 20
MOST_IN_A_ROW = 10
HEARTBEAT_S = 30.0
CHECK_WITHIN_S = 55.0
_CHECK = [SystemMessage("Follow the user's wish exactly."), HumanMessage("Reply with OK.")]


class Asker:
    """One LLM, asked `concurrency` times at once. What `cache` knows is not asked; `meter` counts and may refuse.

    With `postponement` nothing is asked: requests that `cache` does not know go into its batch file. `say` is told
    what is waited for.
    """

    def __init__(
        self,
        llm: BaseChatModel,
        *,
        concurrency: int = 1,
        cache: ReplyCache | None = None,
        meter: Meter | None = None,
        postponement: Postponement | None = None,
        say: Callable[[str], None] = lambda text: None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.llm = llm
        self.concurrency = concurrency
        self.meter = meter or Meter()
        self.postponement = postponement
        self.say = say
        self.heartbeat_s = 10 * heartbeat_s if is_embedded(llm) else heartbeat_s  # two cores take a minute a reply
        self._cache = cache
        self._free = asyncio.Semaphore(concurrency)
        # One loop for the asker's life: the HTTP client's open connections belong to the loop that made them.
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True, name="asker").start()

    def check(self, within_s: float = CHECK_WITHIN_S) -> None:
        """Nothing if the LLM answers; otherwise its sentence is raised, before long work has begun.

        It is asked as the work will ask, a system's words and a limit on the reply included. The embedded one has time:
        it may have others to answer.
        """
        if is_embedded(self.llm):
            within_s = EMBEDDED_TIMEOUT_S

        async def ask() -> None:
            async with asyncio.timeout(within_s):
                with self.meter.request(_CHECK) as spent, llm_errors():
                    spent(await self.llm.ainvoke(_CHECK))

        try:
            asyncio.run_coroutine_threadsafe(ask(), self.loop).result()
        except TimeoutError:
            raise LLMUnavailableError(
                f"The LLM did not answer a first short question within {within_s:g} s. Check that it runs and is not "
                "overloaded, that OPENAI_BASE_URL is right and that the network works, then try again."
            ) from None

    async def ask(self, messages: Sequence[BaseMessage], *, whole: bool = False) -> str:
        """The LLM's reply to `messages`; its errors are `UserError`s with a remedy.

        A reply that was cut at its limit or filtered is an error too where nothing is left of it, and a cut one where
        it is wanted `whole`. Those are not remembered, nor are empty ones.
        """
        key = request_key(self.llm, messages) if self._cache else ""
        if self._cache and (known := self._cache.get(key)) is not None:
            self.meter.count_cached()
            return known
        if self.postponement:
            self.meter.set_aside(messages)
            raise self.postponement.add(messages)
        async with self._free:
            with self.meter.request(messages) as spent, llm_errors():
                message = await self.llm.ainvoke(list(messages))
                spent(message)
        reply, ended = str(message.text), how_ended(message)
        if ended and (whole or not reply.strip()):
            more = " LLMs that think aloud need thousands of reply_tokens (a setting)." if "cut" in ended else ""
            raise LLMRefusedError(f"The LLM's reply {ended}.{more}")
        if self._cache and reply.strip() and not ended:
            self._cache.put(key, reply)
        return reply


class _Outcomes:
    """How the jobs of a piece of work have ended so far, and what ends it early."""

    def __init__(self) -> None:
        self.end: LLMError | None = None
        self._n = self._n_failed = self._n_in_a_row = 0

    def count(self, error: LLMError | None = None) -> None:
        """Counts a job that is done, or has failed for `error`; the work ends with it where it concerns all others."""
        self._n += 1
        self._n_failed += error is not None
        self._n_in_a_row = self._n_in_a_row + 1 if error else 0
        if error and (error.concerns_all or isinstance(error, BudgetSpentError)):
            self.end = self.end or error
        elif error and self._is_hopeless:
            self.end = self.end or LLMRefusedError(
                f"{self._n_failed} of {self._n} questions got no reply that could be used, which is too many to go on. "
                f"The last one: {error} What came so far is kept; the same command goes on."
            )

    @property
    def _is_hopeless(self) -> bool:
        """Whether the share that fails is surely too great: beyond three standard errors, since chance has runs."""
        most = MOST_FAILED * self._n + 3 * math.sqrt(MOST_FAILED * (1 - MOST_FAILED) * self._n)
        return self._n_in_a_row >= MOST_IN_A_ROW or (self._n >= LEAST_JOBS and self._n_failed > most)


def work_through(asker: Asker, jobs: Sequence[Job[T]]) -> Iterator[tuple[int, T | LLMError]]:
    """(position, result) of each job as it completes; a job may ask several times, one after the other.

    As many jobs are open as requests may run at once, so the LLM is kept busy and jobs end early. A job whose request
    fails has its error as its result, and the others go on, unless it concerns all of them (key, credit, address, a
    spent budget) or too many have failed: then no other begins, what is under way and will be paid for is waited for,
    and the error is raised. Closing the iterator cancels all. Jobs whose requests are postponed give no result, and
    `BatchWaitsError` is raised in the end.
    """
    results: queue.SimpleQueue[tuple[int, T | LLMError] | None] = queue.SimpleQueue()
    waiting = iter(enumerate(jobs))
    outcomes = _Outcomes()

    async def worker() -> None:
        while not outcomes.end and (following := next(waiting, None)):
            position, job = following
            try:
                result = await job(asker)
            except PostponedError:
                continue
            except LLMError as error:
                outcomes.count(error)
                if outcomes.end is not error:
                    results.put((position, error))
            else:
                outcomes.count()
                results.put((position, result))

    async def work() -> None:
        workers = [asyncio.create_task(worker()) for _ in range(min(asker.concurrency, len(jobs)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for each in workers:
                each.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if outcomes.end:  # of a budget the sentence only now, when all that was under way is counted
            raise asker.meter.used_up() if isinstance(outcomes.end, BudgetSpentError) else outcomes.end
        if asker.postponement:
            asker.postponement.finish()

    future = asyncio.run_coroutine_threadsafe(work(), asker.loop)
    future.add_done_callback(lambda _: results.put(None))
    try:
        while (result := _next(results, asker)) is not None:
            yield result
    finally:
        if not future.cancel():
            future.result()


def _next(results: queue.SimpleQueue[T], asker: Asker) -> T:
    """The next result; meanwhile it is said that it is waited for, ever less often."""
    waited_s, pause_s = 0.0, asker.heartbeat_s
    while True:
        try:
            return results.get(timeout=pause_s)
        except queue.Empty:
            waited_s += pause_s
            pause_s = waited_s
            asker.say(f"No question has been answered by the LLM for {waited_s:.0f} s. It is waited for.")


def ask_all(asker: Asker, prompts: Sequence[Sequence[BaseMessage]]) -> Iterator[tuple[int, str | LLMError]]:
    """(position, whole reply) of each prompt as it completes; failures as in `work_through`."""

    async def ask(prompt: Sequence[BaseMessage], asker: Asker) -> str:
        return await asker.ask(prompt, whole=True)

    return work_through(asker, [partial(ask, prompt) for prompt in prompts])


def in_order(results: Iterator[tuple[int, T]]) -> Iterator[tuple[int, T]]:
    """The results by their position; one that comes early waits for its turn."""
    early: dict[int, T] = {}
    following = 0
    for position, result in results:
        early[position] = result
        while following in early:
            yield following, early.pop(following)
            following += 1
