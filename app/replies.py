"""A question and what was found for it → the passages to read and the growing answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.answering import Answer, answer_question, fail
from app.conversation import Turn, stand_alone
from app.retriever import Retrieval
from app.streaming import Publish, Stopped, Worker, follow
from app.workbench import Workbench
from distill.prompts import NO_ANSWER
from indexes.errors import InputError, UserError
from indexes.types import Passage

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

    def work(publish: Publish[tuple[str, str]], stopped: Stopped) -> None:
        try:
            publish((stand_alone(bench.connect(lambda status: None), turns, question), ""))
        except UserError as error:
            publish((question, f"Searched as typed, without the questions before it: {error}"))

    *_, (latest,) = [((question, ""),), *follow([work], [(question, "")], stopped)]
    return latest


def passages_to_read(retrieval: Retrieval) -> list[Passage]:
    """The passages that the answer is written from, in the order in which they are shown: it binds the citations."""
    return [candidate.passage for candidate in retrieval.candidates[:N_READ]]


def write_answers(
    bench: Workbench, question: str, passages: Sequence[Sequence[Passage]], stopped: Stopped
) -> Iterator[tuple[Answer, ...]]:
    """The growing answers to `question`, one for each list of passages; at the end none is left waiting."""
    start = [Answer(n_passages=len(each), notice="Asking the LLM …") for each in passages]
    latest = tuple(start)
    for latest in follow([_writer(bench, question, each) for each in passages], start, stopped):
        yield latest
    if stopped():
        yield tuple(_stop(answer) for answer in latest)


def _stop(answer: Answer) -> Answer:
    return replace(answer, state="stopped", notice="Stopped.") if answer.state in ("waiting", "writing") else answer


def _writer(bench: Workbench, question: str, passages: Sequence[Passage]) -> Worker[Answer]:
    waiting = Answer(n_passages=len(passages))

    def work(publish: Publish[Answer], stopped: Stopped) -> None:
        if not passages:
            publish(replace(waiting, state="done", text=NO_ANSWER))
            return
        try:
            llm = bench.connect(lambda status: publish(replace(waiting, notice=f"{status} …")))
        except UserError as error:
            publish(fail(waiting, str(error), 0.0))
            return
        publish(replace(waiting, notice=f"The LLM is reading the first {len(passages)} passages …"))
        for answer in answer_question(llm, question, passages):
            if stopped():
                return
            publish(answer)

    return work
