"""Doubtful passages: they hold a question's answer, but nobody said that they are relevant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from distill.jsonl import Record
from indexes.types import Query

_SHORTEST = 3  # letters; "no" and "7" stand in too many passages to mean anything
_WORDS = re.compile(r"\w+")

Doubtful = Mapping[str, frozenset[str]]  # passage ids by question id


def doubtful_passages(queries: Sequence[Query], candidates: Sequence[Record], texts: Mapping[str, str]) -> Doubtful:
    """By question id its candidates that hold one of its known answers word for word and are none of its positives.

    To teach that they are wrong would teach against the answer: they are kept out of the negatives.
    """
    answers = {query.id: _phrases(query.answers) for query in queries if query.answers}
    positives = {query.id: set(query.positives) for query in queries}
    return {
        record["id"]: frozenset(
            candidate["passage"]
            for candidate in record["candidates"]
            if candidate["document"] not in positives[record["id"]]
            and _holds(texts[candidate["passage"]], answers[record["id"]])
        )
        for record in candidates
        if answers.get(record["id"])
    }


def _phrases(answers: Sequence[str]) -> list[str]:
    phrases = [_plain(answer) for answer in answers]
    return [phrase for phrase in phrases if len(phrase.strip()) >= _SHORTEST]


def _holds(text: str, phrases: Sequence[str]) -> bool:
    plain = _plain(text)
    return any(phrase in plain for phrase in phrases)


def _plain(text: str) -> str:
    """The words of `text` in lower case with a space around each, so that a phrase is found at word boundaries only."""
    return f" {' '.join(_WORDS.findall(text.casefold()))} "
