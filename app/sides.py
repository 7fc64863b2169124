"""Comparisons, votes and what they add up to → safe HTML: pure. Every text of a file or a question is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from app.comparison import Comparison
from app.rendering import format_ms, notice_html, passages_html
from app.scores import Score
from app.votes import verdicts_for

PREFIXES = ("left", "right", "third", "fourth")
_OF_TWO = ("Left", "Right")
_OF_MORE = ("First", "Second", "Third", "Fourth")
_NUMBERS = ("", "", "both", "all three", "all four")
_LABELS = {
    "left": "Left is better",
    "right": "Right is better",
    "tie": "Both are good",
    "both bad": "Both are bad",
    "first": "First is best",
    "second": "Second is best",
    "third": "Third is best",
    "fourth": "Fourth is best",
    "none": "None is best",
}


def places(n_sides: int) -> tuple[str, ...]:
    """What the sides are called where there are so many."""
    return _OF_TWO if n_sides == len(_OF_TWO) else _OF_MORE[:n_sides]


def side_names(labels: Sequence[str], *, is_blind: bool) -> tuple[str, ...]:
    """What each side is called on the page."""
    names = places(len(labels))
    return names if is_blind else tuple(f"{side} · {label}" for side, label in zip(names, labels, strict=True))


def answers_html(names: Sequence[str], answers: Sequence[str]) -> str:
    """The answers side by side, each under the name of its side; nothing while there are none."""
    if not answers:
        return ""
    sides = "".join(
        f'<div class="side"><h2 id="{prefix}-title">{escape(name)}</h2><div id="{prefix}-answer">{answer}</div></div>'
        for prefix, name, answer in zip(PREFIXES, names, answers, strict=False)
    )
    return f'<div class="answers" style="--columns: {len(names)}">{sides}</div>'


def sides_html(comparison: Comparison, labels: Sequence[str], n_read: int, *, is_blind: bool) -> str:
    """All lists side by side, rank beside rank, each passage with how it moved."""
    n_sides = len(comparison.sides)
    lists = [
        passages_html(
            side, prefix, n_read, moves, is_reference=prefix == PREFIXES[0], n_others=n_sides - 1, is_blind=is_blind
        )
        for prefix, side, moves in zip(PREFIXES[:n_sides], comparison.sides, comparison.moves, strict=True)
    ]
    n_rows = 3 + max(len(side.candidates) for side in comparison.sides)
    sides = "".join(
        f'<div class="side"><h2>{escape(name)}</h2>{each}</div>'
        for name, each in zip(side_names(labels, is_blind=is_blind), lists, strict=True)
    )
    kind = "aligned many" if n_sides > len(_OF_TWO) else "aligned"
    return f'<div class="{kind}" style="--rows: {n_rows}; --columns: {n_sides}">{sides}</div>'


def comparison_html(comparison: Comparison, *, is_blind: bool = False, link: str = "") -> str:
    """How much the sides have in common, unless it is blind how long each took, and a link to come back by."""
    n_found = max((len(side.candidates) for side in comparison.sides), default=0)
    times = "".join(f"<li><b>{escape(side.retriever)}</b> {format_ms(side.took_ms)}</li>" for side in comparison.sides)
    shared = f"{comparison.n_shared} of {n_found} passages were found by {_NUMBERS[len(comparison.sides)]}."
    first = [side.candidates[0].passage.id for side in comparison.sides if side.candidates]
    verdict = "They agree on the first one." if len(set(first)) == 1 else "They disagree on the first one."
    anchor = (
        f' <a class="link" href="{escape(link)}" title="This corpus, these retrievers and this question">Link</a>'
        if link
        else ""
    )
    return f'<div class="comparison"><p>{shared} {verdict}{anchor}</p>{"" if is_blind else f"<ul>{times}</ul>"}</div>'


def ballot_html(n_sides: int) -> str:
    """A button for each verdict; the page's script says which was pressed."""
    buttons = "".join(
        f'<button type="button" id="vote-{verdict.replace(" ", "-")}" data-verdict="{verdict}">'
        f"{_LABELS[verdict]}</button>"
        for verdict in verdicts_for(n_sides)
    )
    return f'<div class="ballot" role="group" aria-label="Your vote">{buttons}</div>'


def reveal_html(sentence: str, labels: Sequence[str]) -> str:
    """What became of a vote, and which side was which."""
    named = [f"{place} was {label}" for place, label in zip(places(len(labels)), labels, strict=True)]
    which = ", ".join([named[0], *(name[0].lower() + name[1:] for name in named[1:])])
    return notice_html(f"{sentence} {which}.", "done")


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
    return f'<div class="running-score"><p>{sentence}</p>{_bar(score)}</div>'


def scores_html(scores: Mapping[tuple[str, str], Score]) -> str:
    """How the votes on each pair of several retrievers stand: a row with a bar each."""
    if not any(score.n for score in scores.values()):
        return '<p class="aside">Nobody has voted on these retrievers yet.</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(second)} against {escape(first)}</th>'
        f"<td>{score.second} of {score.decided}</td><td>{score.ties}</td><td>{score.both_bad}</td>"
        f"<td>{_bar(score) if score.decided else '–'}</td></tr>"
        for (first, second), score in scores.items()
        if score.n
    )
    head = "".join(f"<th>{name}</th>" for name in ("Pair", "Better in", "Ties", "Both bad", "Share, 95 % interval"))
    return (
        '<div class="running-score"><p>Votes on these retrievers, pair by pair: the best of several was better than '
        f'each other one.</p><div class="scroll"><table class="figures"><tr>{head}</tr>{rows}</table></div></div>'
    )


def _bar(score: Score) -> str:
    share, low, high = (100 * value for value in (score.share, score.low, score.high))
    return (
        f'<div class="score-bar" role="img" aria-label="{share:.0f} percent, from {low:.0f} to {high:.0f}">'
        f'<i class="range" style="left: {low:.1f}%; width: {high - low:.1f}%"></i>'
        f'<i class="mean" style="left: {share:.1f}%"></i><i class="half"></i></div>'
    )
