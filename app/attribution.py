"""What an answer rests on, by shared words: citations where an LLM gave none, and the words that a citation means."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MIN_WORDS = 4  # of a sentence, below which shared words mean nothing
_MIN_SHARE = 0.6  # of a sentence's words that its passage must have
_MIN_SHARED = 2  # words that a passage's sentence must share with what it is cited for
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


def supporting_span(claim: str, passage: str) -> tuple[int, int] | None:
    """The characters of `passage` that say what `claim` says: its sentence, or two in a row, with most of the words.

    None where no sentence shares enough of them.
    """
    wanted = _words(claim)
    sentences = [match for match in _SENTENCE.finditer(passage) if match[0].strip()]
    best: tuple[float, int, int] | None = None
    for first in range(len(sentences)):
        for last in (first, first + 1):
            if last < len(sentences):
                best = _better(best, wanted, passage, sentences[first].start(), sentences[last].end())
    return (best[1], best[2]) if best else None


def _better(
    best: tuple[float, int, int] | None, wanted: frozenset[str], passage: str, start: int, end: int
) -> tuple[float, int, int] | None:
    """The span that covers more of the claim; of two that cover nearly the same, the shorter."""
    text = passage[start:end]
    start += len(text) - len(text.lstrip())
    end -= len(text) - len(text.rstrip())
    shared = len(wanted & _words(text))
    if shared < min(_MIN_SHARED, len(wanted)) or not shared:
        return best
    score = shared - (end - start) / 500  # a second sentence has to bring words of its own
    return (score, start, end) if best is None or score > best[0] else best


def last_sentence(text: str) -> str:
    """The last sentence of `text`, whose citation may stand after its full stop."""
    found = [match[0].strip() for match in _SENTENCE.finditer(re.sub(r"\[[\d\s,;–-]+\]", "", text)) if match[0].strip()]
    return found[-1] if found else ""
