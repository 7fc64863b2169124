"""Passages found by their words → safe HTML with those words marked: pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from app.rendering import aside_html, source_line
from indexes.types import Candidate

_BEFORE = 80


def mark_words(text: str, words: Sequence[str]) -> str:
    """`text` as safe HTML, each of `words` (lower case) in a <mark>."""
    if not words:
        return escape(text)
    wanted = "|".join(re.escape(word) for word in sorted(set(words), key=lambda word: (-len(word), word)))
    pieces = re.split(rf"\b({wanted})\b", text, flags=re.IGNORECASE)
    return "".join(
        f"<mark>{escape(piece)}</mark>" if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def hits_html(found: Sequence[Candidate], words: Sequence[str], n_most: int) -> str:
    """What was found, best first; opened, a passage shows all of its text."""
    if not found:
        return aside_html("No passage has any of these words. Words as common as 'the' do not count.")
    n = f"The {len(found)} best passages" if len(found) == n_most else f"{len(found)} passage{'s' * (len(found) != 1)}"
    items = "".join(f"<li>{_hit(candidate, number, words)}</li>" for number, candidate in enumerate(found, start=1))
    return (
        f'<section class="passages" aria-label="Passages found"><h3>{n} with these words</h3><ol>{items}</ol></section>'
    )


def _hit(candidate: Candidate, number: int, words: Sequence[str]) -> str:
    passage = candidate.passage
    return (
        f'<details class="passage"><summary><span class="number">{number}</span>'
        f'<span class="title">{mark_words(passage.title or passage.source, words)}</span>'
        f'<span class="snippet">{mark_words(_around(passage.text, words), words)}</span></summary>'
        f'<div class="text">{mark_words(passage.text, words)}</div>'
        f'<p class="source">{source_line(passage)}</p></details>'
    )


def _around(text: str, words: Sequence[str]) -> str:
    """`text` from a little before the first of `words` on."""
    wanted = "|".join(re.escape(word) for word in words)
    match = re.search(rf"\b({wanted})\b", text, flags=re.IGNORECASE) if words else None
    start = text.rfind(" ", 0, max(0, match.start() - _BEFORE)) + 1 if match and match.start() > _BEFORE else 0
    return ("… " if start else "") + text[start : start + 320]
