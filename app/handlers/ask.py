"""The Ask tab: a question, its passages, its answer, and what was asked before."""

from __future__ import annotations

import secrets
import time
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr

from app import demo_lesson
from app.answering import N_REMEMBERED, Answer, Turn, remember
from app.handlers.buttons import SAME, Link, StopFlag, Update, busy, idle, make_link, only
from app.rendering import answer_html, asked_html, notice_html, passages_html, source_line, turns_html
from app.retriever import Retrieval
from app.streaming import N_READ, N_SHOWN, check_question, find_standalone, passages_to_read, write_answers
from app.votes import Side
from app.workbench import Workbench
from indexes.errors import UserError
from indexes.observing import answering, new_request


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What stands on the Ask tab of one visitor: it stays in the visitor's session, and thumbs are about it."""

    corpus: str
    question: str
    sides: tuple[Side, ...]


AskView = namedtuple("AskView", "answer passages asked earlier question ask stop retry fresh turns last shown")
"""The panel of the Ask tab, what surrounds it, and what the session remembers."""


def ask(
    bench: Workbench,
    question: str,
    corpus: str | None,
    retriever: str | None,
    rerank: bool,
    turns: tuple[Turn, ...],
    flag: StopFlag,
) -> Iterator[AskView]:
    """First what is being done, then the passages, then the growing answer."""
    flag.is_set = False
    started, request = time.perf_counter(), new_request()
    try:
        question = check_question(question)
        yield _started(question, turns)
        searched, remark = question, ""
        if turns:
            yield only(AskView, answer=notice_html("Reading the question in the light of those before …", "busy"))
            searched, remark = find_standalone(bench, turns, question, flag.read)
        with answering(request):
            retrieval = bench.retrievers.retrieve(corpus, retriever, searched, N_SHOWN, rerank)
    except UserError as error:
        yield _ended(notice_html(str(error), "error"), can_retry=False)
        return
    searched_s = time.perf_counter() - started
    bench.keep_question(retrieval.corpus, searched)
    passages = passages_to_read(retrieval)
    yield _found(retrieval, question, searched, remark, searched_s)
    if not passages:
        yield _ended("", can_retry=False)
        return
    answer = Answer(n_passages=len(passages))
    for (answer,) in write_answers(bench, searched, [passages], flag.read, request):
        # The button too, each time: the page was seen to lose its first enabling among the words.
        stop = busy("Stop" if answer.text else _SKIP)[1]
        yield only(AskView, answer=answer_html(answer, "ask", passages, searched_s=searched_s), stop=stop)
    if answer.state == "done":
        sources = tuple(map(source_line, passages))
        turns = remember(turns, Turn(question=question, searched=searched, answer=answer.text, sources=sources))
    yield _ended(SAME, can_retry=answer.state != "done")._replace(turns=turns, fresh=gr.update(visible=bool(turns)))


_SKIP = "Skip the answer"  # while no word of it is there


def _started(question: str, turns: tuple[Turn, ...]) -> AskView:
    button, stop = busy(_SKIP)
    return only(
        AskView,
        answer=notice_html("Searching …", "busy"),
        passages="",
        asked=asked_html(question),
        earlier=turns_html(turns),
        question="",
        ask=button,
        stop=stop,
        retry=gr.update(visible=False),
        last=question,
    )


def _found(retrieval: Retrieval, question: str, searched: str, remark: str, searched_s: float) -> AskView:
    """The passages, and which question they were found for."""
    candidates = retrieval.candidates
    waiting = Answer(n_passages=min(N_READ, len(candidates)), notice="Asking the LLM …")
    return only(
        AskView,
        answer=answer_html(waiting, "ask", searched_s=searched_s) if candidates else "",
        passages=passages_html(retrieval, "ask", N_READ),
        asked=asked_html(
            question,
            searched if searched != question else "",
            remark,
            make_link(searched, retrieval.corpus, retrieval.choice.key),
        ),
        shown=Shown(corpus=retrieval.corpus, question=searched, sides=(as_side(retrieval),)),
    )


def as_side(shown: Retrieval) -> Side:
    """What was shown, as a vote remembers it."""
    return Side(
        retriever=shown.choice.key,
        passages=tuple(each.passage.id for each in shown.candidates),
        documents=tuple(each.passage.document_id for each in shown.candidates),
    )


def _ended(answer: Update, *, can_retry: bool) -> AskView:
    button, stop = idle()
    return only(AskView, answer=answer, ask=button, stop=stop, retry=gr.update(visible=can_retry))


def start_afresh() -> AskView:
    """Nothing is remembered any more."""
    return only(
        AskView,
        answer="",
        passages="",
        asked="",
        earlier="",
        turns=(),
        shown=None,
        fresh=gr.update(visible=False),
        last="",
    )


def restore(question: str, link: Link) -> tuple[Update, Update]:
    """The question of a link to one retriever, for its box and to be asked; what was typed meanwhile stays."""
    return (SAME, SAME) if question or link.sides or not link.question else (link.question, link.question)


MOST_KEPT = 40
Conversation = Mapping[str, Any]
Kept = Mapping[str, Sequence[Conversation]]
"""The conversations that a browser keeps, the newest first, by the name that each person signs in with."""


ConversationsView = namedtuple("ConversationsView", "kept box picked title export")
"""The conversations of this browser, the one that goes on, its name, and it as a file."""


def list_conversations(kept: Kept, who: str, *, picked: str | None = None) -> Iterator[ConversationsView]:
    """Those of `who`, one of them `picked`."""
    mine = kept.get(who, ())
    one = next((each for each in mine if each["id"] == picked), None)
    with TemporaryDirectory() as folder:  # the page copies the file before it asks for more
        file = Path(folder) / "conversation.md"
        file.write_text(as_markdown(one) if one else "", encoding="utf-8", errors="replace")
        yield ConversationsView(
            kept=kept,
            box=gr.update(visible=bool(mine)),
            picked=gr.update(choices=[(each["title"], each["id"]) for each in mine], value=one and one["id"]),
            title=gr.update(value=one["title"] if one else "", interactive=one is not None),
            export=gr.update(value=str(file) if one else None, interactive=one is not None),
        )


def keep_turn(
    turns: tuple[Turn, ...], corpus: str | None, picked: str | None, kept: Kept, who: str
) -> Iterator[ConversationsView]:
    """The newest turn in the conversation that goes on, or in a new one."""
    mine = [*kept.get(who, ())]
    one = next((each for each in mine if each["id"] == picked), None)
    if turns:
        turn = {**asdict(turns[-1]), "sources": list(turns[-1].sources)}
        new = {"id": secrets.token_hex(4), "title": turn["question"][:80], "corpus": corpus or "", "turns": []}
        before = one or new
        if turn not in before["turns"][-1:]:  # one that was opened again is there already
            mine = [{**before, "turns": [*before["turns"], turn]}, *(each for each in mine if each is not one)]
        picked = before["id"]
    yield from list_conversations({**kept, who: mine[:MOST_KEPT]}, who, picked=picked if turns else None)


def change_conversation(kept: Kept, picked: str | None, title: str | None, who: str) -> Iterator[ConversationsView]:
    """The picked conversation under another name; without one it is deleted."""
    mine = [
        {**each, "title": title.strip()[:80] or each["title"]} if title is not None and each["id"] == picked else each
        for each in kept.get(who, ())
        if title is not None or each["id"] != picked
    ]
    yield from list_conversations({**kept, who: mine}, who, picked=picked)


def open_conversation(kept: Kept, picked: str | None, who: str) -> Iterator[AskView]:
    """The conversation as it stood, to go on with."""
    one = next((each for each in kept.get(who, ()) if each["id"] == picked), None)
    turns = tuple(Turn(**{**each, "sources": tuple(each["sources"])}) for each in one["turns"]) if one else ()
    remembered = turns[-N_REMEMBERED:]
    yield start_afresh()._replace(
        earlier=turns_html(turns), turns=remembered, fresh=gr.update(visible=bool(remembered))
    )


def as_markdown(conversation: Conversation) -> str:
    """A conversation to take away, with where its passages stand."""
    lines = [f"# {conversation['title']}", f"Corpus: {conversation['corpus']}"]
    for turn in conversation["turns"]:
        sources = "\n".join(f"{n}. {source}" for n, source in enumerate(turn["sources"], start=1))
        lines += [f"## {turn['question']}", turn["answer"], f"Sources:\n\n{sources}"]
    return "\n\n".join(lines) + "\n"


LessonView = namedtuple("LessonView", "text teach found timer state")
"""The demonstration's lesson: a sentence, a button, questions to click, and whether to look again soon."""


_TEACH = f"Teach it now from a large LLM's ready orders (about {demo_lesson.MINUTES} minutes, asks no LLM)"
ENDED = "ended"  # under this visitor's eyes


def show_lesson(bench: Workbench, corpus: str | None, before: str = "") -> LessonView:
    """The lesson as it stands for who looks at `corpus`, and was at `before` when it was shown last."""
    state = demo_lesson.state_of(bench, corpus)
    try:
        text = demo_lesson.lesson_html(bench, state)
        found = demo_lesson.found_by(bench).gained[: demo_lesson.N_LISTED] if state == "done" else ()
    except UserError as error:
        text, found = notice_html(str(error), "error"), ()
    label = {"offered": _TEACH, "stopped": "Go on with it"}.get(state)
    return LessonView(
        text=gr.update(value=text, visible=bool(text)),
        teach=gr.update(visible=label is not None, value=label or _TEACH, interactive=True),
        found=gr.update(samples=[[question] for question in found], visible=bool(found)),
        timer=gr.update(active=state == "going on"),
        state=ENDED if state == "done" and before == "going on" else state,
    )


def teach_demo(bench: Workbench, corpus: str | None) -> LessonView:
    """The lesson begins; where it cannot, a sentence says why."""
    try:
        demo_lesson.teach(bench)
    except UserError as error:
        return show_lesson(bench, corpus)._replace(text=gr.update(value=notice_html(str(error), "error"), visible=True))
    return show_lesson(bench, corpus)
