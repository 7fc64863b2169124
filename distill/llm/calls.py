"""Many requests to one LLM, a set number at a time, with a memory for replies and a count of what was spent."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from distill.llm.batches import PostponedError, Postponement
from distill.llm.connection import llm_errors
from distill.llm.reply_cache import ReplyCache, request_key
from distill.llm.spending import Meter
from indexes.errors import BudgetSpentError

T = TypeVar("T")
Job = Callable[["Asker"], Awaitable[T]]


class Asker:
    """One LLM, asked `concurrency` times at once. What `cache` knows is not asked; `meter` counts and may refuse.

    With `postponement` nothing is asked: requests that `cache` does not know go into its batch files.
    """

    def __init__(
        self,
        llm: BaseChatModel,
        *,
        concurrency: int = 1,
        cache: ReplyCache | None = None,
        meter: Meter | None = None,
        postponement: Postponement | None = None,
    ) -> None:
        self.llm = llm
        self.concurrency = concurrency
        self.meter = meter or Meter()
        self.postponement = postponement
        self._cache = cache
        self._free = asyncio.Semaphore(concurrency)
        # One loop for the asker's life: the HTTP client's open connections belong to the loop that made them.
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True, name="asker").start()

    async def ask(self, messages: Sequence[BaseMessage]) -> str:
        """The LLM's reply to `messages`; its errors are `UserError`s with a remedy."""
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
        reply = str(message.text)
        if self._cache:
            self._cache.put(key, reply)
        return reply

    def start(self, work: Awaitable[None], on_end: Callable[[], None]) -> Callable[[], None]:
        """Starts `work` on the asker's loop; `on_end` is called when it has ended. Returns what to call in the end: it
        cancels what still runs, and raises what `work` failed with.
        """

        async def run() -> None:
            await work

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        future.add_done_callback(lambda _: on_end())

        def end() -> None:
            if not future.cancel():
                future.result()

        return end


def work_through(asker: Asker, jobs: Sequence[Job[T]]) -> Iterator[tuple[int, T]]:
    """(position, result) of each job as it completes; a job may ask several times, one after the other.

    As many jobs are open as requests may run at once, so the LLM is kept busy and jobs end early. The first failure
    cancels the others and is raised after the results that came before it; so does closing the iterator. A spent
    budget cancels nothing: what was paid for is waited for. Jobs whose requests are postponed give no result, and
    `BatchWaitsError` is raised in the end.
    """
    results: queue.SimpleQueue[tuple[int, T] | None] = queue.SimpleQueue()
    waiting = iter(enumerate(jobs))
    is_spent = False

    async def worker() -> None:
        nonlocal is_spent
        for position, job in waiting:
            try:
                results.put((position, await job(asker)))
            except PostponedError:
                continue
            except BudgetSpentError:
                is_spent = True
                return

    async def work() -> None:
        workers = [asyncio.create_task(worker()) for _ in range(min(asker.concurrency, len(jobs)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for each in workers:
                each.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if is_spent:
            raise asker.meter.used_up()  # only now all that was under way is counted
        if asker.postponement:
            asker.postponement.finish()

    end = asker.start(work(), lambda: results.put(None))
    try:
        while (result := results.get()) is not None:
            yield result
    finally:
        end()


def ask_all(asker: Asker, prompts: Sequence[Sequence[BaseMessage]]) -> Iterator[tuple[int, str]]:
    """(position, reply) of each prompt as it completes; failures as in `work_through`."""

    async def ask(prompt: Sequence[BaseMessage], asker: Asker) -> str:
        return await asker.ask(prompt)

    return work_through(asker, [partial(ask, prompt) for prompt in prompts])
