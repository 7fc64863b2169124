"""How good answers are where they are known: exact match, F1, and refusal where the corpus has no answer.

Words are compared as SQuAD does (Rajpurkar et al. 2016): lower case, without punctuation and articles.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from app.answering import Answer, find_citations
from indexes.errors import InputError
from indexes.types import Query

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """One answer against what is known; the figures of an unanswerable question are None."""

    question: str
    given: str
    expected: tuple[str, ...]
    has_refused: bool
    exact: float | None = None
    f1: float | None = None
    contains: float | None = None

    @property
    def is_answerable(self) -> bool:
        return bool(self.expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The means; None where there was no such question."""

    n_answerable: int
    n_unanswerable: int
    exact: float | None
    f1: float | None
    contains: float | None
    refused_answerable: float | None
    refused_unanswerable: float | None


def choose_answerable(queries: Sequence[Query], limit: int) -> list[Query]:
    """The first `limit` questions with known answers, and among them those that nothing answers.

    Where some questions of a file have answers, one that has neither an answer nor a relevant document is meant to be
    refused. Raises `InputError` if no answer is known.
    """
    if not any(query.answers for query in queries):
        raise InputError(
            'To judge answers, questions need "answers" (texts that count as right), but none of the '
            f"{len(queries)} questions has any. The retrievers can be judged without."
        )
    return [query for query in queries if query.answers or not query.grades][:limit]


def grade(query: Query, answer: Answer) -> Graded:
    """`answer` against the known answers of `query`: the best match counts."""
    given = _without_citations(answer)
    refused = answer.says_nothing
    if not query.answers:
        return Graded(question=query.text, given=given, expected=(), has_refused=refused)
    tokens = normal_words(given)
    known = [normal_words(each) for each in query.answers]
    return Graded(
        question=query.text,
        given=given,
        expected=query.answers,
        has_refused=refused,
        exact=float(not refused and tokens in known),
        f1=0.0 if refused else max(f1(tokens, each) for each in known),
        contains=float(not refused and any(_holds(tokens, each) for each in known)),
    )


def normal_words(text: str) -> list[str]:
    """The words of `text` as they are compared."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def f1(given: Sequence[str], expected: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of words; 1 where both have none."""
    if not given or not expected:
        return float(list(given) == list(expected))
    shared = sum((Counter(given) & Counter(expected)).values())
    return 2 * shared / (len(given) + len(expected))


def summarise(graded: Sequence[Graded]) -> Quality:
    """The means of `graded`."""
    known = [each for each in graded if each.is_answerable]
    unknown = [each for each in graded if not each.is_answerable]
    return Quality(
        n_answerable=len(known),
        n_unanswerable=len(unknown),
        exact=_mean([each.exact for each in known]),
        f1=_mean([each.f1 for each in known]),
        contains=_mean([each.contains for each in known]),
        refused_answerable=_mean([float(each.has_refused) for each in known]),
        refused_unanswerable=_mean([float(each.has_refused) for each in unknown]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _holds(given: Sequence[str], expected: Sequence[str]) -> bool:
    n = len(expected)
    return n > 0 and any(list(given[i : i + n]) == list(expected) for i in range(len(given) - n + 1))


def _without_citations(answer: Answer) -> str:
    text, cursor, pieces = answer.text, 0, []
    for citation in find_citations(text, answer.n_passages):
        pieces.append(text[cursor : citation.start])
        cursor = citation.end
    return " ".join("".join([*pieces, text[cursor:]]).split())
