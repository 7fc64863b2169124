"""Putting requests off: collected instead of made, for a provider's batch service to answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from distill.llm.batch_files import export_batch, request_body
from distill.llm.reply_cache import ReplyCache, request_key
from indexes.errors import LLMError


class PostponedError(Exception):
    """The request was put into a batch: what asked for it cannot go on now."""


class BatchWaitsError(LLMError):
    """Requests are in batch files, and have to be answered before the work can go on."""


class Postponement:
    """Instead of asking: the requests of a piece of work, collected until its end and then in batch files."""

    def __init__(self, llm: BaseChatModel, file: Path, cache: ReplyCache) -> None:
        request_body(llm, [])  # refused now rather than after the work
        self._llm = llm
        self._file = file
        self._cache = cache
        self._prompts: dict[str, Sequence[BaseMessage]] = {}

    def add(self, messages: Sequence[BaseMessage]) -> PostponedError:
        """Collects a request; what to raise where its reply was wanted."""
        self._prompts[request_key(self._llm, messages)] = messages
        return PostponedError()

    def finish(self) -> None:
        """Writes what was collected, if anything, and then raises `BatchWaitsError`."""
        if not self._prompts:
            return
        files = export_batch(self._llm, self._prompts.values(), self._cache, self._file)
        n, self._prompts = len(self._prompts), {}
        raise BatchWaitsError(
            f"{n} requests are in {', '.join(map(str, files))}. Have the provider's batch service answer them, import "
            "the file that it offers then, and give the same command again to go on."
        )
