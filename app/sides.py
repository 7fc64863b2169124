"""Comparisons, votes and what they add up to → safe HTML: pure. Every text of a file or a question is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app.comparison import Comparison
from app.rendering import format_ms, notice_html, passages_html
from app.votes import Score

PREFIXES = ("left", "right")
_SIDES = ("Left", "Right")


def side_names(labels: Sequence[str], *, is_blind: bool) -> tuple[str, ...]:
    """What each side is called on the page."""
    return _SIDES if is_blind else tuple(f"{side} · {label}" for side, label in zip(_SIDES, labels, strict=True))


def sides_html(comparison: Comparison, labels: Sequence[str], n_read: int, *, is_blind: bool) -> str:
    """Both lists side by side, rank beside rank, each passage with how it moved."""
    names = side_names(labels, is_blind=is_blind)
    lists = [
        passages_html(side, prefix, n_read, moves, is_reference=prefix == "left", is_blind=is_blind)
        for prefix, side, moves in zip(PREFIXES, comparison.sides, comparison.moves, strict=True)
    ]
    n_rows = 3 + max(len(side.candidates) for side in comparison.sides)
    sides = "".join(
        f'<div class="side"><h2>{escape(name)}</h2>{each}</div>' for name, each in zip(names, lists, strict=True)
    )
    return f'<div class="aligned" style="--rows: {n_rows}">{sides}</div>'


def comparison_html(comparison: Comparison, *, is_blind: bool = False) -> str:
    """How much the sides have in common, and unless it is blind how long each took."""
    n_found = max((len(side.candidates) for side in comparison.sides), default=0)
    times = "".join(f"<li><b>{escape(side.retriever)}</b> {format_ms(side.took_ms)}</li>" for side in comparison.sides)
    shared = f"{comparison.n_shared} of {n_found} passages were found by both."
    first = [side.candidates[0].passage.id for side in comparison.sides if side.candidates]
    verdict = "They agree on the first one." if len(set(first)) == 1 else "They disagree on the first one."
    return f'<div class="comparison"><p>{shared} {verdict}</p>{"" if is_blind else f"<ul>{times}</ul>"}</div>'


def reveal_html(sentence: str, labels: Sequence[str]) -> str:
    """What became of a vote, and which side was which."""
    return notice_html(f"{sentence} Left was {labels[0]}, right was {labels[1]}.", "done")


def score_html(score: Score, first: str, second: str) -> str:
    """How the votes on two retrievers stand: a bar with its interval, and a sentence."""
    if not score.n:
        return '<p class="aside">Nobody has voted on these two retrievers yet.</p>'
    rest = f"{score.ties} ties, {score.both_bad} times both bad."
    if not score.decided:
        return f'<p class="aside">{score.n} votes so far, none for a side: {rest}</p>'
    share, low, high = (100 * value for value in (score.share, score.low, score.high))
    judgement = "No clear winner yet." if score.low <= 0.5 <= score.high else "That is a clear lead."
    sentence = (
        f"<b>{escape(second)}</b> was better in {score.second} of {score.decided} decided votes against "
        f"<b>{escape(first)}</b>: {share:.0f} % (95 % interval {low:.0f} to {high:.0f} %). {rest} {judgement}"
    )
    bar = (
        f'<div class="score-bar" role="img" aria-label="{share:.0f} percent, from {low:.0f} to {high:.0f}">'
        f'<i class="range" style="left: {low:.1f}%; width: {high - low:.1f}%"></i>'
        f'<i class="mean" style="left: {share:.1f}%"></i><i class="half"></i></div>'
    )
    return f'<div class="running-score"><p>{sentence}</p>{bar}</div>'
