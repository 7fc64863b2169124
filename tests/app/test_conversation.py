"""A follow-up is understood by what came before, and by nothing that an LLM adds to it."""

from __future__ import annotations

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from app.answering import N_REMEMBERED, Turn, remember, stand_alone

TURNS = (Turn(question="Who dances?", searched="Who dances?", answer="Honey bees " + "dance " * 500),)


@pytest.mark.parametrize(
    ("reply", "searched"),
    [
        ("Why do honey bees dance?", "Why do honey bees dance?"),
        ('Rewritten question: "Why do honey bees dance?"\nBecause …', "Why do honey bees dance?"),
        ("  \n ", "And why?"),
        ("endless " * 200, "And why?"),
        ("Time: what is it?", "Time: what is it?"),
    ],
)
def test_the_reply_is_the_question_or_it_is_left_as_typed(reply: str, searched: str) -> None:
    llm = GenericFakeChatModel(messages=iter([AIMessage(reply)]))
    assert stand_alone(llm, TURNS, "And why?") == searched


def test_the_llm_reads_the_last_turns_cut_short() -> None:
    read: list[str] = []
    llm = RunnableLambda(lambda messages: read.extend(str(each.content) for each in messages) or AIMessage("Why?"))
    assert stand_alone(llm, TURNS * 9, "And why?") == "Why?"
    text = "\n".join(read)
    assert text.count("Question: Who dances?") == 3
    assert len(text) < 4000
    assert text.rstrip().endswith("rewritten to stand alone:")


def test_only_the_last_turns_are_remembered() -> None:
    turns: tuple[Turn, ...] = ()
    for number in range(N_REMEMBERED + 3):
        turns = remember(turns, Turn(question=str(number), searched="", answer=""))
    assert [turn.question for turn in turns] == [str(number) for number in range(3, N_REMEMBERED + 3)]
