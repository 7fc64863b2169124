"""Ask and Compare for programs: plain values in, plain values out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import gradio as gr

from app.answering import Answer
from app.comparison import compare_retrievers
from app.handlers.comparing import check_sides
from app.handlers.pickers import starting_sides
from app.replies import N_SHOWN, check_question, passages_to_read, write_answers
from app.retriever import Retrieval, retrieve
from app.searching import Opened, open_retriever
from app.shelf import look_up
from app.sides import PREFIXES
from app.workbench import Workbench
from indexes.errors import UserError


def ask(bench: Workbench, question: str, corpus: str, retriever: str) -> dict[str, Any]:
    """The answer, its citations, and the passages that it was written from; `gr.Error` with a sentence."""
    try:
        question = check_question(question)
        opened = open_retriever(bench, corpus or None, retriever)
        found = retrieve(opened.choice.label, opened.retriever, question, N_SHOWN)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None
    bench.keep_question(opened.corpus, question)
    (answer,) = _answers(bench, question, [found])
    return {"question": question, "corpus": opened.corpus} | _side(opened, found) | _answer(answer)


def compare(
    bench: Workbench,
    question: str,
    corpus: str,
    left: str,
    right: str,
    with_answers: bool,
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """All sides with their passages, how each moved, and how many they share; `gr.Error` with a sentence.

    The third and the fourth side are there only where `more` names them.
    """
    try:
        question = check_question(question)
        opened = _open_sides(bench, corpus, left, right, more)
        comparison = compare_retrievers(question, {each.choice.label: each.retriever for each in opened}, N_SHOWN)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None
    sides = [_side(each, found) for each, found in zip(opened, comparison.sides, strict=True)]
    for side, moves in zip(sides, comparison.moves, strict=True):
        side["moves"] = [asdict(move) | {"gain": move.gain} for move in moves]
    if with_answers:
        for side, answer in zip(sides, _answers(bench, question, comparison.sides), strict=True):
            side.update(_answer(answer))
    about = {"question": question, "corpus": opened[0].corpus, "n_shared": comparison.n_shared}
    return about | dict(zip(PREFIXES, sides, strict=False))


def _open_sides(bench: Workbench, corpus: str, left: str, right: str, more: Sequence[str]) -> list[Opened]:
    _, _, dense = look_up(bench.paths, bench.encoder, corpus or None)
    first, second = starting_sides(dense)
    keys = (left or first, right or second, *(name for name in more if name))
    check_sides(keys)
    opened = [open_retriever(bench, corpus or None, key) for key in keys]
    check_sides([each.choice.key for each in opened])  # "baseline" and the encoder's own name are the same one
    return opened


def _answers(bench: Workbench, question: str, found: Any) -> tuple[Answer, ...]:
    """The complete answers; a side on which nothing was found has an empty one."""
    passages = [passages_to_read(retrieval) for retrieval in found]
    *_, last = write_answers(bench, question, passages, lambda: False)
    return last


def _side(opened: Opened, found: Retrieval) -> dict[str, Any]:
    passages = [asdict(each.passage) | {"score": each.score} for each in found.candidates]
    return {"retriever": opened.choice.key, "took_ms": round(found.took_ms, 1), "passages": passages}


def _answer(answer: Answer) -> dict[str, Any]:
    """An answer; `cited` are places in the list of passages, from 1. An LLM that failed leaves its sentence."""
    return {
        "answer": answer.text,
        "state": answer.state,
        "notice": answer.notice,
        "cited": sorted({number for citation in answer.citations for number in citation.numbers}),
        "first_word_s": answer.first_word_s,
        "took_s": answer.took_s,
    }
