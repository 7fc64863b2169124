"""Answers, passages and comparisons → safe HTML: pure. Every text of a file, a question or an LLM is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app.answering import Answer
from app.comparison import Comparison, Move
from app.markdown import to_safe_html
from app.retriever import Retrieval
from indexes.types import Candidate, Passage

_SNIPPET_CHARACTERS = 220


def passage_anchor(prefix: str, number: int) -> str:
    """The element id of passage `number` in the panel called `prefix`."""
    return f"{prefix}-passage-{number}"


def notice_html(sentence: str, kind: str = "info") -> str:
    """A sentence for people; `kind` is info, busy or error."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="notice {escape(kind)}" role="{role}">{escape(sentence)}</div>'


def aside_html(sentence: str) -> str:
    """A sentence in small print."""
    return f'<p class="aside">{escape(sentence)}</p>'


def command_html(sentence: str, command: str) -> str:
    """A sentence and the command to copy."""
    return f'<div class="notice info">{escape(sentence)}<pre class="command">{escape(command)}</pre></div>'


# --- answers ---------------------------------------------------------------------------------------------------


def answer_html(answer: Answer, prefix: str) -> str:
    """An answer as it stands, its citations linked to the passages of the panel called `prefix`."""
    parts = []
    if answer.says_nothing and answer.state == "done":
        parts.append(
            '<p class="refusal">The corpus does not say.</p>'
            '<p class="aside">The passages that were found do not contain an answer. '
            "Another wording may find others.</p>"
        )
    elif answer.text:
        body = to_safe_html(answer.text, answer.n_passages, lambda number: passage_anchor(prefix, number))
        parts.append(f'<div class="text">{body}</div>')
        if answer.state == "done" and not answer.citations:
            parts.append(aside_html("The LLM cited no passage: check this against the passages."))
    if answer.notice and answer.state == "done":
        parts.append(aside_html(answer.notice))
    elif answer.notice:
        parts.append(notice_html(answer.notice, {"failed": "error", "waiting": "busy"}.get(answer.state, "info")))
    if times := _answer_times(answer):
        parts.append(f'<p class="times">{times}</p>')
    busy = "true" if answer.state in ("waiting", "writing") else "false"
    return f'<section class="answer {answer.state}" aria-label="Answer" aria-busy="{busy}">{"".join(parts)}</section>'


def _answer_times(answer: Answer) -> str:
    if answer.first_word_s is None:
        return ""
    total = f" · complete after {answer.took_s:.1f} s" if answer.state == "done" else ""
    return f"First word after {answer.first_word_s:.1f} s{total}"


# --- passages --------------------------------------------------------------------------------------------------


def passages_html(
    retrieval: Retrieval, prefix: str, n_read: int, moves: Sequence[Move] = (), *, is_reference: bool = False
) -> str:
    """What was found, best first; the first `n_read` are those that the answer is written from.

    With `moves`, each says how it moved against the other side; on the reference side, where it went.
    """
    if not retrieval.candidates:
        return notice_html("This index has no passages. Add files to the corpus first.")
    items = []
    for number, candidate in enumerate(retrieval.candidates, start=1):
        if number == n_read + 1:
            items.append('<li class="divider">Found too, not read for the answer</li>')
        move = _move_html(moves[number - 1], is_reference) if moves else ""
        items.append(f"<li>{_passage_html(candidate, passage_anchor(prefix, number), number, move)}</li>")
    n_found = len(retrieval.candidates)
    head = f"{n_found} passage{'s' * (n_found != 1)} in {format_ms(retrieval.took_ms)}"
    return f'<section class="passages" aria-label="Passages"><h3>{head}</h3><ol>{"".join(items)}</ol></section>'


def format_ms(took_ms: float) -> str:
    """'12 ms' or '1.3 s'."""
    return f"{took_ms:.0f} ms" if took_ms < 1000 else f"{took_ms / 1000:.1f} s"


def _passage_html(candidate: Candidate, anchor: str, number: int, move: str) -> str:
    passage = candidate.passage
    snippet = " ".join(passage.text.split())
    snippet = snippet if len(snippet) <= _SNIPPET_CHARACTERS else snippet[:_SNIPPET_CHARACTERS].rstrip() + "…"
    return (
        f'<details class="passage" id="{escape(anchor)}"><summary>'
        f'<span class="number">{number}</span>'
        f'<span class="title">{escape(passage.title or passage.source)}</span>{move}'
        f'<span class="score" title="Similarity of question and passage">{candidate.score:.2f}</span>'
        f'<span class="snippet">{escape(snippet)}</span></summary>'
        f'<div class="text">{escape(passage.text)}</div><p class="source">{source_line(passage)}</p></details>'
    )


def source_line(passage: Passage) -> str:
    """Where a passage stands: its file, its page or characters, and its document where that is not the file."""
    where = f"page {passage.page}" if passage.page else f"characters {passage.start:,}–{passage.end:,}"
    parts = [passage.source, where]
    if passage.document_id != passage.source:
        parts.insert(1, passage.document_id)
    return " · ".join(escape(part) for part in parts)


# --- comparisons -----------------------------------------------------------------------------------------------


def _move_html(move: Move, is_reference: bool) -> str:
    if move.other_rank is None and move.document_rank is not None:
        hint = f"The other side has another passage of this document, at {move.document_rank}"
        return f'<span class="move other" title="{hint}">other passage at {move.document_rank}</span>'
    if move.gain is None:
        return '<span class="move only" title="Only this side found it">only here</span>'
    if is_reference:
        return f'<span class="move same" title="At {move.other_rank} on the other side">→ {move.other_rank}</span>'
    hint = f'title="At {move.other_rank} on the other side"'
    if move.gain == 0:
        return f'<span class="move same" {hint} aria-label="unmoved">=</span>'
    arrow, kind, word = ("▲", "up", "higher") if move.gain > 0 else ("▼", "down", "lower")
    steps = abs(move.gain)
    return f'<span class="move {kind}" {hint} aria-label="{steps} {word} than on the other side">{arrow} {steps}</span>'


def comparison_html(comparison: Comparison) -> str:
    """How much the sides have in common and how long each took."""
    n_found = max((len(side.candidates) for side in comparison.sides), default=0)
    times = "".join(f"<li><b>{escape(side.retriever)}</b> {format_ms(side.took_ms)}</li>" for side in comparison.sides)
    shared = f"{comparison.n_shared} of {n_found} passages were found by both."
    first = [side.candidates[0].passage.id for side in comparison.sides if side.candidates]
    verdict = "They agree on the first one." if len(set(first)) == 1 else "They disagree on the first one."
    return f'<div class="comparison"><p>{shared} {verdict}</p><ul>{times}</ul></div>'
