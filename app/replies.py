"""A question to the workbench → the retriever to ask, the passages to read and the growing answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.answering import Answer, answer_question, fail
from app.retriever import IndexRetriever, Retrieval
from app.shelf import look_up, starting_choice
from app.streaming import Publish, Stopped, Worker, follow
from app.workbench import Workbench
from indexes.corpus import Corpus
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


def open_retriever(bench: Workbench, corpus: str | None, encoder: str | None) -> tuple[str, IndexRetriever]:
    """The name to show and the retriever of `corpus` by `encoder`; the one to start with where none was picked."""
    if corpus:
        Corpus.open(bench.paths, corpus)  # a corpus that is gone is not replaced by another
    _, shown, choices = look_up(bench.paths, bench.encoder, corpus)
    if shown is None:
        raise InputError("There is no corpus yet. Add files on the Corpora tab first.")
    start = starting_choice(choices)
    if start is None:
        raise InputError(f"Corpus '{shown.name}' is not indexed yet. Wait until it is, or add its files again.")
    encoder = encoder or start.encoder
    index = bench.shelf.index(shown.name, encoder)
    label = next((choice.label for choice in choices if choice.encoder == encoder), encoder)
    return label, IndexRetriever(index=index)


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
