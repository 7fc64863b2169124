"""What every handler of the page needs, assembled once and passed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from langchain_core.language_models import BaseChatModel

from app import asked
from app.background import Background
from app.shelf import IndexShelf
from app.teaching.jobs import Jobs
from distill.llm.connection import LLMConfig
from indexes.paths import DataPaths

ConnectLLM = Callable[[Callable[[str], None]], BaseChatModel]
"""The chat model, made ready if need be; what that takes is said to the callback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """The data folder, the open indexes, the way to the LLM and what goes on in the background."""

    paths: DataPaths
    encoder: str
    shelf: IndexShelf
    connect: ConnectLLM
    llm_name: str
    background: Background
    max_upload_mb: int = 200
    llm: LLMConfig = field(default_factory=LLMConfig)
    jobs: Jobs | None = None
    keeps_questions: bool = False

    def keep_question(self, corpus: str, question: str) -> None:
        """Keeps a question about `corpus` where the page is told to."""
        if self.keeps_questions:
            asked.keep_question(self.paths, corpus, question)
