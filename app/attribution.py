"""Citations for an answer that came without any, as small LLMs' answers do: by shared words, and said to be that."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MIN_WORDS = 4  # of a sentence, below which shared words mean nothing
_MIN_SHARE = 0.6  # of a sentence's words that its passage must have
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]*")
_FENCE = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)


def cite_by_words(text: str, passages: Sequence[str]) -> str:
    """`text` with [n] at the end of each sentence most of whose words stand in passage n; code is left as it is."""
    known = [_words(passage) for passage in passages]
    parts = _FENCE.split(text)
    return "".join(
        part if part.startswith("```") else _SENTENCE.sub(lambda match: _cite(match[0], known), part) for part in parts
    )


def _cite(sentence: str, known: Sequence[frozenset[str]]) -> str:
    words = _words(sentence)
    if len(words) < _MIN_WORDS or not known:
        return sentence
    shares = [len(words & passage) / len(words) for passage in known]
    best = max(range(len(shares)), key=shares.__getitem__)
    if shares[best] < _MIN_SHARE:
        return sentence
    stem = sentence.rstrip(" .!?")
    return f"{stem} [{best + 1}]{sentence[len(stem) :]}"


def _words(text: str) -> frozenset[str]:
    """The words of `text` that carry meaning: those of four letters and more."""
    return frozenset(re.findall(r"\w{4,}", text.lower()))
