"""What can be picked on the Ask and the Compare tab, and both for programs: plain values in, plain values out."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import gradio as gr

from app.answering import Answer
from app.comparison import compare_sides
from app.demo import DEMO_CORPUS, EXAMPLE_QUESTIONS
from app.handlers.buttons import SAME, Link, Update
from app.handlers.compare import retrieve_sides, show_score, starting_sides
from app.rendering import PREFIXES, notice_html
from app.retriever import WAYS, Choice, Retrieval, find_choice, look_up, starting_choice, taught_choice
from app.streaming import N_SHOWN, check_question, whole_answers
from app.workbench import Workbench
from indexes.corpus import Corpus
from indexes.errors import UserError
from indexes.retrievers import split_key
from indexes.types import Passage

Opened = namedtuple("Opened", "corpus tabs llm compared")
"""The corpus of the page, the tab that is open, the LLM that answers, and the question of a comparison."""


def open_page(bench: Workbench, corpus: str | None, remembered: str, link: Link) -> Opened:
    """What the page begins with: what its address names, and else the corpus that this browser saw last."""
    names, shown, _ = look_up(bench.paths, bench.encoder, link.corpus or corpus or remembered)
    tabs = gr.update(selected=link.tab) if link.tab else SAME
    compared = link.question if link.sides and link.question else SAME
    return Opened(corpus_picker(names, shown, corpus), tabs, gr.update(label=f"LLM: {bench.reader.name}"), compared)


Chosen = dict[str, str]
"""Corpus → the key of the retriever that this visitor picked for it."""


AskChoices = namedtuple("AskChoices", "corpus way retriever rerank examples drop chosen")
"""What can be picked on the Ask tab; `way` are the few that are offered first, `retriever` all of them."""


def list_ask_choices(
    bench: Workbench, corpus: str | None, chosen: Chosen, current: str | None = None, link: Link | None = None
) -> AskChoices:
    """The corpora and retrievers as they are on disk now; what was picked for a corpus stays picked if it is there.

    Where nothing was picked, a `link` says what to use, and else it is what was promoted.
    """
    corpora, shown, choices = look_up(bench.paths, bench.encoder, corpus)
    if shown and link and link.retriever and shown not in chosen and link.corpus in ("", shown):
        chosen = {**chosen, shown: link.retriever}
    plain, is_reranked = split_key(chosen.get(shown or "", ""))
    start = starting_choice(choices)
    picked = _there(plain, choices) or (start.key if start else None)
    first = sorted((choice for choice in choices if choice.way), key=lambda choice: WAYS.index(choice.way))
    is_among = any(choice.key == picked for choice in first)
    return AskChoices(
        corpus=corpus_picker(corpora, shown, corpus),
        way=_retriever_picker(first, picked if is_among else None, "?") | {"info": _meaning(shown, choices, picked)},
        retriever=_retriever_picker(choices, picked, current),
        rerank=_rerank_box(choices, picked) | ({"value": True} if is_reranked and current is None else {}),
        examples=_examples(bench, shown, choices),
        drop=gr.update(visible=shown is None),
        chosen=chosen,
    )


def choose(bench: Workbench, corpus: str | None, retriever: str | None, chosen: Chosen) -> AskChoices:
    """What a person picked, remembered for this corpus, with one line on what it is."""
    return list_ask_choices(bench, corpus, {**chosen, corpus or "": retriever or ""}, "")


def _examples(bench: Workbench, shown: str | None, choices: Sequence[Choice]) -> Update:
    """A few questions to begin with."""
    if not shown or not choices:
        return gr.update(visible=False)
    if shown == DEMO_CORPUS:
        questions: Sequence[str] = EXAMPLE_QUESTIONS
    else:
        questions = propose_questions(islice(Corpus.open(bench.paths, shown).passages(), _N_LOOKED_AT))
    return gr.update(samples=[[question] for question in questions], visible=bool(questions))


_N_LOOKED_AT, _N_PROPOSED = 400, 3


def propose_questions(passages: Iterable[Passage]) -> list[str]:
    """Up to three questions that some of `passages` answer, made of what they are headed."""
    headings = (passage.title.rsplit(" › ", 1)[-1].strip() for passage in passages)
    asked = list(dict.fromkeys(_question(heading) for heading in headings if 2 < len(heading) < 90))
    step = max(1, len(asked) // _N_PROPOSED)
    return asked[::step][:_N_PROPOSED]


def _question(heading: str) -> str:
    return heading if heading.endswith("?") else f"What is said about {heading.rstrip('.:')}?"


CompareChoices = namedtuple("CompareChoices", "corpus left right more is_picked teach body score")
"""What can be picked on the Compare tab; `teach` stands there while nothing has been taught yet."""


def list_compare_choices(
    bench: Workbench,
    corpus: str | None,
    left: str | None,
    right: str | None,
    more: Sequence[str] | None = None,
    is_picked: bool = False,
    link: Link | None = None,
) -> CompareChoices:
    """The corpora and all sides' retrievers as they are on disk now.

    Unless a person picked the right side (`is_picked`), it is the promoted retriever. Where nothing was picked yet, a
    `link` says what to begin with.
    """
    wanted = (left, right, *(more or []))
    if link and link.sides and not left:
        is_picked, wanted = len(link.sides) > 1, (*link.sides, None)[: max(2, len(link.sides))]
    corpora, shown, plain = look_up(bench.paths, bench.encoder, corpus)
    choices = [*plain, *(choice.reranked for choice in plain if choice.ranker)]
    first, second, others = _sides(plain, wanted, is_picked)
    return CompareChoices(
        corpus=corpus_picker(corpora, shown, corpus),
        left=_retriever_picker(choices, first, left) | {"visible": bool(choices)},
        right=_retriever_picker(choices, second, right) | {"visible": bool(choices)},
        more=_retriever_picker(choices, others, list(more or [])) | {"visible": bool(choices)},
        is_picked=is_picked,
        teach=_how_to_teach(shown, plain),
        body=gr.update(visible=bool(choices)),
        score=show_score(bench, shown, [first, second, *others]),
    )


def _sides(
    choices: Sequence[Choice], wanted: Sequence[str | None], is_picked: bool
) -> tuple[str | None, str | None, list[str]]:
    """The left side, the right one and the others: what is `wanted` and still there, and else what to `start` with."""
    left, right, *others = (_there(key, choices) for key in wanted)
    start = starting_sides(choices)
    left = left or start[0]
    if not right or (not is_picked and start[1] != left):
        right = start[1]
    return left, right, [key for key in others if key]


def _there(key: str | None, choices: Sequence[Choice]) -> str | None:
    """The key of the choice that `key` names, None for none."""
    try:
        return find_choice(choices, key).key if key else None
    except UserError:
        return None


def corpus_picker(names: Sequence[str], shown: str | None, current: str | None) -> Update:
    return gr.update(choices=names, interactive=bool(names), **_changed(shown, current))


def _retriever_picker(
    choices: Sequence[Choice], picked: str | list[str] | None, current: str | list[str] | None
) -> Update:
    return gr.update(choices=[(choice.label, choice.key) for choice in choices], **_changed(picked, current))


def _rerank_box(choices: Sequence[Choice], picked: str | None) -> Update:
    ranker = next((choice.ranker for choice in choices if choice.key == picked), "")
    if not ranker:
        return gr.update(visible=False, value=False)
    return gr.update(visible=True, info=f"The ranker of run '{ranker}' puts the best passages in order: slower.")


def _changed(value: str | list[str] | None, current: str | list[str] | None) -> dict[str, Any]:
    """The value to set, if it is another: setting the same one would undo what was picked in the meantime."""
    return {} if value == current else {"value": value}


def _meaning(shown: str | None, choices: Sequence[Choice], picked: str | None) -> str:
    if shown is None:
        return "There is no corpus yet. Drop files below to make one."
    if not choices:
        return "This corpus is not indexed yet. It can be asked as soon as it is."
    return next((choice.meaning for choice in choices if choice.key == picked), "")


def _how_to_teach(shown: str | None, choices: Sequence[Choice]) -> Update:
    if taught_choice(choices):
        return gr.update(value="", visible=False)
    if shown is None:
        sentence = "There is no corpus yet. Add files on the Corpora tab to make one."
    elif not choices:
        sentence = "This corpus is not indexed yet. Its retrievers can be compared as soon as it is."
    else:
        sentence = (
            f"Nothing has been taught on corpus '{shown}' yet. Open the Teach tab to teach a retriever; it "
            "appears here when it is done."
        )
    return gr.update(value=notice_html(sentence), visible=True)


def ask(bench: Workbench, question: str, corpus: str, retriever: str) -> dict[str, Any]:
    """The answer, its citations, and the passages that it was written from; `gr.Error` with a sentence."""
    try:
        question = check_question(question)
        found = bench.retrievers.retrieve(corpus or None, retriever, question, N_SHOWN)
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None
    bench.keep_question(found.corpus, question)
    (answer,) = whole_answers(bench, question, [found])
    return {"question": question, "corpus": found.corpus} | _side(found) | _answer(answer)


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
        keys = (left, right, *(name for name in more if name))
        comparison = compare_sides(retrieve_sides(bench, corpus or None, keys, question))
    except UserError as error:
        raise gr.Error(str(error), print_exception=False) from None
    sides = [_side(found) for found in comparison.sides]
    for side, moves in zip(sides, comparison.moves, strict=True):
        side["moves"] = [asdict(move) | {"gain": move.gain} for move in moves]
    if with_answers:
        for side, answer in zip(sides, whole_answers(bench, question, comparison.sides), strict=True):
            side.update(_answer(answer))
    about = {"question": question, "corpus": comparison.sides[0].corpus, "n_shared": comparison.n_shared}
    return about | dict(zip(PREFIXES, sides, strict=False))


def _side(found: Retrieval) -> dict[str, Any]:
    passages = [asdict(each.passage) | {"score": each.score} for each in found.candidates]
    return {"retriever": found.choice.key, "took_ms": round(found.took_ms, 1), "passages": passages}


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
