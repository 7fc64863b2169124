"""A link that brings back a corpus, a question and a retriever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from app.replies import MAX_QUESTION_CHARACTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What the address of the page asks for; "" for what it leaves open. It is shown, and not asked by itself."""

    corpus: str = ""
    question: str = ""
    retriever: str = ""


def read_link(parameters: Mapping[str, str]) -> Link:
    """The link that the page was opened by; what is too long for a question is left out."""
    question = parameters.get("question", "")
    return Link(
        corpus=parameters.get("corpus", ""),
        question=question if len(question) <= MAX_QUESTION_CHARACTERS else "",
        retriever=parameters.get("retriever", ""),
    )


def make_link(question: str, corpus: str | None, retriever: str | None) -> str:
    """The query part of the page's address for this question."""
    named = {"corpus": corpus, "retriever": retriever, "question": question}
    return "?" + urlencode({name: value for name, value in named.items() if value})
