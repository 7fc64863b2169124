"""A question and its passages → an answer, streamed and cited."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableLambda

from app.attribution import cite_by_words
from distill.prompts import NO_ANSWER, answer_messages
from indexes.errors import UserError
from indexes.types import Passage

# [1], [1, 2], [1-3], [passage 2]; several in a row are several citations.
_CITATION = re.compile(r"\[\s*(?:passages?\s*)?(\d{1,3}(?:\s*(?:,|;|and|[-–])\s*\d{1,3})*)\s*\]", re.IGNORECASE)
_RANGE = re.compile(r"(\d+)\s*[-–]\s*(\d+)|(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Characters `start` to `end` of an answer, which cite the passages with these numbers (from 1)."""

    start: int
    end: int
    numbers: tuple[int, ...]


def find_citations(text: str, n_passages: int) -> list[Citation]:
    """The citations in `text`; numbers that no passage has are left out, and so is a citation without any other."""
    found = []
    for match in _CITATION.finditer(text):
        numbers = tuple(dict.fromkeys(n for n in _expand(match[1]) if 1 <= n <= n_passages))
        if numbers:
            found.append(Citation(start=match.start(), end=match.end(), numbers=numbers))
    return found


def _expand(listed: str) -> Iterator[int]:
    for first, last, single in _RANGE.findall(listed):
        if single:
            yield int(single)
        else:
            yield from range(int(first), min(int(last), int(first) + 50) + 1)


State = Literal["waiting", "writing", "done", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it stands. `notice` says what is waited for, why it broke off, or whose the citations are."""

    n_passages: int
    state: State = "waiting"
    text: str = ""
    notice: str = ""
    first_word_s: float | None = None
    took_s: float = 0.0

    @property
    def says_nothing(self) -> bool:
        """Whether the reader found no answer in the passages."""
        plain = _CITATION.sub("", self.text).strip(" \n\t\"'*.")
        return plain.casefold() == NO_ANSWER.strip(".").casefold()

    @property
    def citations(self) -> list[Citation]:
        """The citations of the passages that were given."""
        return find_citations(self.text, self.n_passages)


def answer_chain(llm: BaseChatModel) -> Runnable[dict[str, Any], str]:
    """{"question", "passages"} → text: prompt, LLM, parser."""
    return RunnableLambda(_to_messages) | llm | StrOutputParser()


def _to_messages(given: dict[str, Any]) -> list[BaseMessage]:
    passages: Sequence[Passage] = given["passages"]
    return answer_messages(given["question"], [passage.full_text for passage in passages])


def answer_question(llm: BaseChatModel, question: str, passages: Sequence[Passage]) -> Iterator[Answer]:
    """The growing answer to `question` from `passages` in the order in which they are shown, which binds the numbers.

    The last one is "done", or "failed" with what had come until then and the sentence that says why.
    """
    from distill.llm.connection import as_user_error

    started = time.perf_counter()
    answer = Answer(n_passages=len(passages))
    try:
        for piece in answer_chain(llm).stream({"question": question, "passages": passages}):
            if piece:
                answer = _add(answer, piece, time.perf_counter() - started)
                yield answer
    except Exception as error:
        shown = error if isinstance(error, UserError) else as_user_error(error)
        if shown is None:
            raise
        yield fail(answer, str(shown), time.perf_counter() - started)
        return
    took_s = time.perf_counter() - started
    if not answer.text.strip():
        yield fail(answer, "The LLM answered with nothing. Ask again, or put the question in other words.", took_s)
    else:
        yield _with_citations(replace(answer, state="done", took_s=took_s), passages)


def _with_citations(answer: Answer, passages: Sequence[Passage]) -> Answer:
    """`answer`, its sentences tied to passages by their words if the LLM has cited none, which is then said."""
    if answer.citations or answer.says_nothing:
        return answer
    text = cite_by_words(answer.text, [passage.full_text for passage in passages])
    return answer if text == answer.text else replace(answer, text=text, notice=_CITED_BY_WORDS)


_CITED_BY_WORDS = "The LLM cited nothing. The numbers mark the passage whose words a sentence repeats."


def _add(answer: Answer, piece: str, elapsed_s: float) -> Answer:
    first = elapsed_s if answer.first_word_s is None else answer.first_word_s
    return replace(answer, state="writing", text=answer.text + piece, first_word_s=first, took_s=elapsed_s)


def fail(answer: Answer, sentence: str, took_s: float) -> Answer:
    """`answer` broken off because of `sentence`; what had come stays."""
    kept = " What had come until then is kept." if answer.text.strip() else ""
    return replace(answer, state="failed", notice=sentence + kept, took_s=took_s)
