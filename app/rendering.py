"""Answers and passages → safe HTML: pure. Every text of a file, a question or an LLM is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app.answering import Answer
from app.attribution import supporting_span
from app.comparison import Move
from app.markdown import Link, citation_link, to_safe_html
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


def command_notice_html(sentence: str, command: str) -> str:
    """A sentence on why something is not done here, and the command that does it, which one click selects."""
    return (
        f'<div class="notice error" role="alert">{escape(sentence)}<pre class="command" tabindex="0">{escape(command)}'
        "</pre></div>"
    )


def aside_html(sentence: str) -> str:
    """A sentence in small print."""
    return f'<p class="aside">{escape(sentence)}</p>'


# --- answers ---------------------------------------------------------------------------------------------------


def answer_html(
    answer: Answer,
    prefix: str,
    passages: Sequence[Passage] = (),
    *,
    searched_s: float | None = None,
    times: bool = True,
) -> str:
    """An answer as it stands, its citations linked to the passages of the panel called `prefix`.

    With the `passages` it was written from, a citation knows the words that it means. `searched_s` is when they were
    found; without `times` nothing says how long anything took.
    """
    parts = []
    if answer.says_nothing and answer.state == "done":
        parts.append(
            '<p class="refusal">The corpus does not say.</p>'
            '<p class="aside">The passages that were found do not contain an answer. '
            "Another wording may find others.</p>"
        )
    elif answer.text:
        parts.append(f'<div class="text">{to_safe_html(answer.text, answer.n_passages, _link(prefix, passages))}</div>')
        if answer.state == "done" and not answer.citations:
            parts.append(aside_html("The LLM cited no passage: check this against the passages."))
    if answer.notice and answer.state == "done":
        parts.append(aside_html(answer.notice))
    elif answer.notice:
        parts.append(notice_html(answer.notice, {"failed": "error", "waiting": "busy"}.get(answer.state, "info")))
    if times and (line := _times(answer, searched_s)):
        parts.append(f'<p class="times">{line}</p>')
    busy = "true" if answer.state in ("waiting", "writing") else "false"
    return f'<section class="answer {answer.state}" aria-label="Answer" aria-busy="{busy}">{"".join(parts)}</section>'


def _link(prefix: str, passages: Sequence[Passage]) -> Link:
    def link(number: int, claim: str) -> str:
        text = passages[number - 1].text if number <= len(passages) else ""
        span = supporting_span(claim, text)
        anchor = passage_anchor(prefix, number)
        return citation_link(
            number, anchor, (_browser_length(text, span[0]), _browser_length(text, span[1])) if span else None
        )

    return link


def _browser_length(text: str, end: int) -> int:
    """How many characters `text[:end]` has for a browser, which counts those beyond U+FFFF twice."""
    return len(text[:end].encode("utf-16-le", "surrogatepass")) // 2


def _times(answer: Answer, searched_s: float | None) -> str:
    before = searched_s or 0.0
    parts = [] if searched_s is None else [f"Passages after {format_ms(searched_s * 1000)}"]
    if answer.first_word_s is not None:
        parts.append(f"first word after {format_ms((before + answer.first_word_s) * 1000)}")
    if answer.state == "done":
        parts.append(f"complete after {format_ms((before + answer.took_s) * 1000)}")
    line = " · ".join(parts)
    return line[:1].upper() + line[1:]


# --- passages --------------------------------------------------------------------------------------------------


def passages_html(
    retrieval: Retrieval,
    prefix: str,
    n_read: int,
    moves: Sequence[Move] = (),
    *,
    is_reference: bool = False,
    n_others: int = 1,
    is_blind: bool = False,
) -> str:
    """What was found, best first; the first `n_read` are those that the answer is written from.

    With `moves`, each says how it moved against the other side; on the reference side, where it went. With several
    others, each of them is against the reference, and the reference says only what no other found. A blind list shows
    neither scores nor times: they would give its retriever away.
    """
    if not retrieval.candidates:
        return notice_html("Nothing was found. No passage of this corpus fits the question.")
    items = []
    for number, candidate in enumerate(retrieval.candidates, start=1):
        if number == n_read + 1:
            items.append('<li class="divider">Found too, not read for the answer</li>')
        move = _move_html(moves[number - 1], is_reference, n_others) if moves else ""
        score = "" if is_blind else _score_html(candidate.score)
        items.append(f"<li>{_passage_html(candidate, passage_anchor(prefix, number), number, move + score)}</li>")
    n_found = len(retrieval.candidates)
    head = f"{n_found} passage{'s' * (n_found != 1)}" + ("" if is_blind else f" in {format_ms(retrieval.took_ms)}")
    return f'<section class="passages" aria-label="Passages"><h3>{head}</h3><ol>{"".join(items)}</ol></section>'


def _score_html(score: float) -> str:
    return f'<span class="score" title="How well it fits, as this retriever counts">{score:.2f}</span>'


def format_ms(took_ms: float) -> str:
    """'12 ms' or '1.3 s'."""
    return f"{took_ms:.0f} ms" if took_ms < 1000 else f"{took_ms / 1000:.1f} s"


def _passage_html(candidate: Candidate, anchor: str, number: int, marks: str) -> str:
    passage = candidate.passage
    snippet = " ".join(passage.text.split())
    snippet = snippet if len(snippet) <= _SNIPPET_CHARACTERS else snippet[:_SNIPPET_CHARACTERS].rstrip() + "…"
    return (
        f'<details class="passage" id="{escape(anchor)}" data-passage="{escape(passage.id)}"><summary>'
        f'<span class="number">{number}</span>'
        f'<span class="title">{escape(passage.title or passage.source)}</span>{marks}'
        f'<span class="snippet">{escape(snippet)}</span></summary>'
        f'<div class="text">{escape(passage.text)}</div>'
        f'<p class="source">{source_line(passage)}</p>{_thumbs_html(number)}</details>'
    )


def _thumbs_html(number: int) -> str:
    """The two buttons under a passage; the page's script reads which passage they are of."""
    buttons = "".join(
        f'<button type="button" class="thumb" data-thumb="{thumb}" aria-pressed="false" '
        f'aria-label="Passage {number} {words}">{shown}</button>'
        for thumb, shown, words in (("up", "Helps", "helps"), ("down", "Does not help", "does not help"))
    )
    return f'<p class="thumbs" role="group" aria-label="Your judgement of passage {number}">{buttons}</p>'


def source_line(passage: Passage) -> str:
    """Where a passage stands: its file, its document and section if they are not the file, its page or characters."""
    where = f"page {passage.page}" if passage.page else f"characters {passage.start:,}–{passage.end:,}"
    parts = dict.fromkeys(filter(None, [passage.source, passage.document_id, passage.title, where]))
    return " · ".join(escape(part) for part in parts)


def _move_html(move: Move, is_reference: bool, n_others: int) -> str:
    """How a passage moved; among several sides, `is_reference` is the one that the others are measured against."""
    if n_others > 1 and is_reference:
        only = '<span class="move only" title="No other side found it">only here</span>'
        return only if move.other_rank is None else ""
    other = "other" if n_others == 1 else "first"
    if move.other_rank is None and move.document_rank is not None:
        hint = f"The {other} side has another passage of this document, at {move.document_rank}"
        return f'<span class="move other" title="{hint}">other passage at {move.document_rank}</span>'
    if move.gain is None:
        word, hint = ("only here", "Only this side found it") if n_others == 1 else ("new", "The first side lacks it")
        return f'<span class="move only" title="{hint}">{word}</span>'
    hint = f'title="At {move.other_rank} on the {other} side"'
    if is_reference:
        return f'<span class="move same" {hint}>→ {move.other_rank}</span>'
    if move.gain == 0:
        return f'<span class="move same" {hint} aria-label="unmoved">=</span>'
    arrow, kind, word = ("▲", "up", "higher") if move.gain > 0 else ("▼", "down", "lower")
    words = f"{abs(move.gain)} {word} than on the {other} side"
    return f'<span class="move {kind}" {hint} aria-label="{words}">{arrow} {abs(move.gain)}</span>'
