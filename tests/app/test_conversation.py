"""A follow-up is understood by what came before, and by nothing that an LLM adds to it."""

from __future__ import annotations

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from app.answering import N_REMEMBERED, Turn, remember, stand_alone
from app.handlers import ask

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


def test_a_conversation_is_kept_renamed_opened_exported_and_deleted() -> None:
    first = Turn(question="Who dances?", searched="Who dances?", answer="Bees [1].", sources=("bees.md · page 2",))
    second = Turn(question="Why?", searched="Why do bees dance?", answer="To tell.", sources=())
    (view,) = ask.keep_turn((first,), "garden", None, {}, "ann")
    picked = view.picked["value"]
    (view,) = ask.keep_turn((first, second), "garden", picked, view.kept, "ann")
    assert view.picked["choices"] == [("Who dances?", picked)], "a follow-up began a conversation of its own"
    (same,) = ask.keep_turn((first, second), "garden", picked, view.kept, "ann")
    assert same.kept == view.kept, "what is opened again is kept twice"
    (renamed,) = ask.change_conversation(view.kept, picked, " Bees ", "ann")
    assert renamed.picked["choices"] == [("Bees", picked)]
    (opened,) = ask.open_conversation(renamed.kept, picked, "ann")
    assert opened.turns == (first, second)
    text = ask.as_markdown(renamed.kept["ann"][0])
    assert text.startswith("# Bees\n\nCorpus: garden\n\n## Who dances?\n\nBees [1].\n\nSources:\n\n1. bees.md · page 2")
    (other,) = ask.list_conversations(renamed.kept, "bob")
    assert other.picked["choices"] == [], "one account reads another's"
    (gone,) = ask.change_conversation(renamed.kept, picked, None, "ann")
    assert (gone.kept, gone.box["visible"]) == ({"ann": []}, False)


def test_only_so_many_conversations_are_kept_the_newest_first() -> None:
    kept: ask.Kept = {}
    for number in range(ask.MOST_KEPT + 2):
        (view,) = ask.keep_turn((Turn(question=str(number), searched="", answer="a"),), "c", None, kept, "")
        kept = view.kept
    assert [each["title"] for each in kept[""]][:2] == [str(ask.MOST_KEPT + 1), str(ask.MOST_KEPT)]
    assert len(kept[""]) == ask.MOST_KEPT
