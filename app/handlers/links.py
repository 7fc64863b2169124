"""A link that brings back a corpus, a question and a retriever, or the retrievers of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from app.replies import MAX_QUESTION_CHARACTERS
from app.sides import PREFIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What the address of the page asks for; "" for what it leaves open. It is shown, and not asked by itself.

    With `sides` it is a comparison of them, and else a question for `retriever`.
    """

    corpus: str = ""
    question: str = ""
    retriever: str = ""
    sides: tuple[str, ...] = ()


def read_link(parameters: Mapping[str, str]) -> Link:
    """The link that the page was opened by; what is too long for a question is left out."""
    question = parameters.get("question", "")
    return Link(
        corpus=parameters.get("corpus", ""),
        question=question if len(question) <= MAX_QUESTION_CHARACTERS else "",
        retriever=parameters.get("retriever", ""),
        sides=tuple(parameters[prefix] for prefix in PREFIXES if parameters.get(prefix)),
    )


def make_link(question: str, corpus: str | None, retriever: str | None) -> str:
    """The query part of the page's address for this question."""
    return _query({"corpus": corpus, "retriever": retriever, "question": question})


def make_compare_link(question: str, corpus: str, sides: Sequence[str]) -> str:
    """The query part of the page's address for this comparison."""
    return _query({"corpus": corpus, **dict(zip(PREFIXES, sides, strict=False)), "question": question})


def _query(named: Mapping[str, str | None]) -> str:
    return "?" + urlencode({name: value for name, value in named.items() if value})
