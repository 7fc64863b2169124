"""What the teacher is asked beside a whole order: the best of a few passages."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from distill.prompts import JUDGE, numbered


def best_messages(question: str, passages: Sequence[str]) -> list[BaseMessage]:
    """Messages that ask which one of the numbered passages answers `question` best, as [n]."""
    human = (
        f"Here are {len(passages)} passages, each with a number in square brackets. Which one answers this question "
        f"best: {question}\n\n{numbered(passages)}\n\nQuestion: {question}\n\n"
        "Reply with the number of the one passage that answers it best, in square brackets, and nothing else."
    )
    return [SystemMessage(JUDGE), HumanMessage(human)]


def choice_reminder() -> BaseMessage:
    """What is said when a reply named no passage, or several."""
    return HumanMessage("That does not name one passage. Reply with one number only, like [2].")
