"""Passages cut so that together they fit what a model can read: pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

CountTokens = Callable[[str], int]

LEAST_TOKENS = 24  # of a passage in a prompt: less says nothing about it
_ELLIPSIS = " …"
_WIDE_FROM = 0x2E80  # CJK and what follows: about a token a character


def estimate_tokens(text: str) -> int:
    """About how many tokens a model sees in `text`: one for 3.5 letters, or for one character of a wide script."""
    wide = sum(ord(character) >= _WIDE_FROM for character in text)
    return math.ceil(wide + (len(text) - wide) / 3.5)


def fit_passages(
    passages: Sequence[str], budget_tokens: int, count: CountTokens = estimate_tokens, *, most: int | None = None
) -> list[str]:
    """`passages`, each cut to the same number of tokens where they would together pass `budget_tokens`.

    What short ones leave over goes to the long ones. None is longer than `most` tokens. A cut one ends with " …".
    """
    lengths = [count(passage) for passage in passages]
    limit = min(_fair_limit(lengths, budget_tokens), most or budget_tokens)
    return [p if length <= limit else cut(p, limit, count) for p, length in zip(passages, lengths, strict=True)]


def _fair_limit(lengths: Sequence[int], budget: int) -> int:
    """The greatest limit at which the lengths, each cut to it, sum to at most `budget`; their greatest if all fit."""
    left = max(0, budget)
    for place, length in enumerate(sorted(lengths)):
        share = left // (len(lengths) - place)
        if length > share:
            return share
        left -= length
    return max(lengths, default=0)


def cut(text: str, limit: int, count: CountTokens = estimate_tokens) -> str:
    """The longest beginning of `text`, up to the end of a word where it has words, of at most `limit` tokens with " …".

    "" if nothing fits.
    """
    if count(text) <= limit:
        return text
    low, high = 0, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text[:middle] + _ELLIPSIS) <= limit else (low, middle - 1)
    kept = text[:low]
    words = kept.rsplit(maxsplit=1)
    if low and not text[low].isspace() and len(words) > 1 and len(words[1]) < 30:
        kept = words[0]
    kept = kept.rstrip()
    return kept + _ELLIPSIS if kept else ""
