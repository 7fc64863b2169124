"""Questions, answers, passages and comparisons → safe HTML: every text of a file, a visitor or an LLM is escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING

import regex

from app.answering import Answer, Turn, find_citations, last_sentence, supporting_span
from app.comparison import Comparison, Move
from app.retriever import Retrieval
from app.votes import verdicts_for
from indexes.errors import counted
from indexes.lexical import SPACELESS
from indexes.types import Candidate, Passage

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token


# Without these rules an address stays text, an image stays its source, and HTML is shown as written.
_DISABLED = ["link", "image", "autolink", "reference", "html_block", "html_inline"]


Link = Callable[[int, str], str]
"""The link of a citation, as safe HTML: from the number of the passage and what it is cited for."""


def to_safe_html(text: str, n_passages: int = 0, link: Link = lambda number, claim: "") -> str:
    """`text` as HTML, every citation of passage n turned into `link(n, the sentence that it ends)`."""
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("table_open", "fence", "code_block"):
            token.attrSet("tabindex", "0")  # what is scrolled can be reached by keyboard
        if token.children:
            token.children = list(_linked(token.children, n_passages, link))
    return str(parser.renderer.render(tokens, parser.options, {}))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(_DISABLED).enable("table")


def _linked(children: Sequence[Token], n_passages: int, link: Link) -> Iterator[Token]:
    """The tokens of a paragraph; text with citations in pieces, the links as ready HTML between them."""
    said = ""
    for token in children:
        cursor = 0
        for citation in find_citations(token.content, n_passages) if token.type == "text" else []:
            claim = last_sentence(said + token.content[: citation.start])
            yield _piece(token, "text", token.content[cursor : citation.start])
            yield _piece(token, "html_inline", "".join(link(n, claim) for n in citation.numbers))
            cursor = citation.end
        yield _piece(token, "text", token.content[cursor:]) if cursor else token
        said += token.content or " "


def _piece(token: Token, kind: str, content: str) -> Token:
    return token.copy(type=kind, content=content)


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


def table_html(
    name: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "", has_row_heads: bool = False
) -> str:
    """A table of cells that are safe HTML already; with `has_row_heads` the first of each row is what it is about."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    opened = '<tr><th scope="row">{}</th>' if has_row_heads else "<tr><td>{}</td>"
    body = "".join(
        opened.format(first) + "".join(f"<td>{each}</td>" for each in rest) + "</tr>" for first, *rest in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="figures {kind}" aria-label="{escape(name)}">'
        f"<thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


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
    if times and (line := _times(answer, searched_s)):  # above the words: below them it would move with every line
        copy = ' <button type="button" class="copy">Copy</button>' if answer.state == "done" and answer.text else ""
        parts.append(f'<p class="times"><span>{line}</span>{copy}</p>')
    if answer.says_nothing and answer.state == "done":
        parts.append(
            '<p class="refusal">The corpus does not say.</p>'
            '<p class="aside">The passages that were found do not contain an answer. '
            "Another wording may find others.</p>"
        )
    elif answer.text:
        text = to_safe_html(answer.text, answer.n_passages, _link(prefix, passages))
        parts.append(f'<div class="text" dir="auto">{text}</div>')
        if answer.state == "done" and not answer.citations:
            parts.append(aside_html("The LLM cited no passage: check this against the passages."))
    if answer.notice and answer.state == "done":
        parts.append(aside_html(answer.notice))
    elif answer.notice:
        parts.append(notice_html(answer.notice, {"failed": "error", "waiting": "busy"}.get(answer.state, "info")))
    busy = "true" if answer.state in ("waiting", "writing") else "false"
    return f'<section class="answer {answer.state}" aria-label="Answer" aria-busy="{busy}">{"".join(parts)}</section>'


def _link(prefix: str, passages: Sequence[Passage]) -> Link:
    def link(number: int, claim: str) -> str:
        text = passages[number - 1].text if number <= len(passages) else ""
        span = None if _TABLE.search(text) else supporting_span(claim, text)  # a table shows no places of characters
        places = [_browser_length(text, end) for end in span or ()]
        marks = ' data-start="{}" data-end="{}"'.format(*places) if span else ""
        anchor = escape(passage_anchor(prefix, number))
        return f'<a class="citation" href="#{anchor}"{marks} aria-label="Open passage {number}">{number}</a>'

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
        hint = "How well it fits, as this retriever counts"
        score = "" if is_blind else f'<span class="score" title="{hint}">{candidate.score:.2f}</span>'
        items.append(f"<li>{_passage_html(candidate, passage_anchor(prefix, number), number, move + score)}</li>")
    n_found = len(retrieval.candidates)
    head = counted(n_found, "passage") + ("" if is_blind else f" in {format_ms(retrieval.took_ms)}")
    return f'<section class="passages" aria-label="Passages"><h3>{head}</h3><ol>{"".join(items)}</ol></section>'


def format_ms(took_ms: float) -> str:
    """'12 ms' or '1.3 s'."""
    return f"{took_ms:.0f} ms" if took_ms < 1000 else f"{took_ms / 1000:.1f} s"


def _passage_html(candidate: Candidate, anchor: str, number: int, marks: str) -> str:
    passage = candidate.passage
    snippet = " ".join(re.sub(r"\|[-:|\s]*", " ", passage.text).split())  # a table without its lines
    snippet = snippet if len(snippet) <= _SNIPPET_CHARACTERS else snippet[:_SNIPPET_CHARACTERS].rstrip() + "…"
    name = f' id="{escape(anchor)}" data-passage="{escape(passage.id)}"'
    return details_html(passage, number, snippet, marks=marks, name=name, foot=_thumbs_html(number))


def details_html(
    passage: Passage,
    number: int,
    snippet: str,
    *,
    words: Sequence[str] = (),
    kind: str = "passage",
    name: str = "",
    marks: str = "",
    foot: str = "",
) -> str:
    """A passage to be opened, `words` marked in it; `name`, `marks` (beside the title) and `foot` are safe HTML."""
    return (
        f'<details class="{kind}"{name}><summary><span class="number">{number}</span>'
        f'<span class="title" dir="auto">{mark_words(passage.title or passage.source, words)}</span>{marks}'
        f'<span class="snippet" dir="auto">{mark_words(snippet, words)}</span></summary>'
        f'<div class="text" dir="auto" tabindex="0">{_body_html(passage.text, words)}</div>'
        f'<p class="source">{escape(source_line(passage))}</p>{foot}</details>'
    )


# Lines of a Markdown table, of which the second is its rule.
_TABLE = re.compile(r"(^\|.*\|[ \t]*\n\|[-:| \t]+\|[ \t]*(?:\n\|.*\|[ \t]*)*)", re.MULTILINE)


def _body_html(text: str, words: Sequence[str]) -> str:
    """The text of a passage, `words` marked in it, and its tables as tables."""
    pieces = _TABLE.split(text)
    return "".join(to_safe_html(piece) if place % 2 else mark_words(piece, words) for place, piece in enumerate(pieces))


def _thumbs_html(number: int) -> str:
    """The two buttons under a passage; the page's script reads which passage they are of."""
    buttons = "".join(
        f'<button type="button" class="thumb" data-thumb="{thumb}" aria-pressed="false" '
        f'aria-label="Passage {number} {words}">{shown}</button>'
        for thumb, shown, words in (("up", "Helps", "helps"), ("down", "Does not help", "does not help"))
    )
    buttons += '<button type="button" class="thumb" data-thumb="place">Show in the file</button>'
    return f'<p class="thumbs" role="group" aria-label="Your judgement of passage {number}">{buttons}</p>'


def source_line(passage: Passage) -> str:
    """Where a passage stands: its file, its document and section if they are not the file, and its page; no HTML."""
    where = f"page {passage.page}" if passage.page else ""
    return " · ".join(dict.fromkeys(filter(None, [passage.source, passage.document_id, passage.title, where])))


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


def asked_html(question: str, searched: str = "", remark: str = "", link: str = "") -> str:
    """The question as it was typed, where it was rewritten the one that was searched for, and a link to it."""
    note = (
        f'<p class="aside">Searched for: <q class="searched" dir="auto">{escape(searched)}</q></p>' if searched else ""
    )
    anchor = _copy_link(link, "This corpus, retriever and question")
    return f'<h2 class="asked" dir="auto">{escape(question)}{anchor}</h2>{note}{aside_html(remark) if remark else ""}'


def _copy_link(link: str, title: str) -> str:
    return f' <a class="link" href="{escape(link)}" title="{title}">Copy link</a>' if link else ""


def turns_html(turns: Sequence[Turn]) -> str:
    """The conversation so far, each turn to be opened."""
    if not turns:
        return ""
    items = "".join(
        f'<li><details><summary dir="auto">{escape(turn.question)}</summary>'
        f'<div class="text" dir="auto">{to_safe_html(turn.answer)}</div></details></li>'
        for turn in turns
    )
    head = f"Earlier in this conversation ({len(turns)})"
    return f'<section class="turns" aria-label="Earlier questions"><h3>{head}</h3><ol>{items}</ol></section>'


_BEFORE = 80


def mark_words(text: str, words: Sequence[str]) -> str:
    """`text` as safe HTML, each of `words` (lower case) in a <mark>."""
    if not words:
        return escape(text)
    pieces = _any_of(words).split(text)
    return "".join(
        f"<mark>{escape(piece)}</mark>" if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def _any_of(words: Sequence[str]) -> regex.Pattern[str]:
    """What finds any of `words`, the longest first; in scripts without blanks wherever they stand, else whole."""
    ordered = sorted(set(words), key=lambda word: (-len(word), word))
    within = [regex.escape(word) for word in ordered if regex.match(f"[{SPACELESS}]", word)]
    whole = [regex.escape(word) for word in ordered if not regex.match(f"[{SPACELESS}]", word)]
    return regex.compile(
        "(" + "|".join([*within, *(rf"(?<!\w){word}(?!\w)" for word in whole)]) + ")", regex.IGNORECASE
    )


def hits_html(found: Sequence[Candidate], words: Sequence[str], n_most: int) -> str:
    """What was found, best first; opened, a passage shows all of its text."""
    if not found:
        return aside_html("No passage has any of these words. Words as common as 'the' do not count.")
    n = f"The {len(found)} best passages" if len(found) == n_most else counted(len(found), "passage")
    items = "".join(
        f"<li>{details_html(each.passage, number, _around(each.passage.text, words), words=words)}</li>"
        for number, each in enumerate(found, start=1)
    )
    return (
        f'<section class="passages" aria-label="Passages found"><h3>{n} with these words</h3><ol>{items}</ol></section>'
    )


def _around(text: str, words: Sequence[str]) -> str:
    """`text` from a little before the first of `words` on."""
    match = _any_of(words).search(text) if words else None
    start = text.rfind(" ", 0, max(0, match.start() - _BEFORE)) + 1 if match and match.start() > _BEFORE else 0
    return ("… " if start else "") + text[start : start + 320]


PREFIXES = ("left", "right", "third", "fourth")
_NUMBERS = ("", "", "both", "all three", "all four")


def places(n_sides: int) -> tuple[str, ...]:
    """What the sides are called where there are so many."""
    return tuple(verdict.capitalize() for verdict in verdicts_for(n_sides)[:n_sides])


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
    kind = "aligned many" if n_sides > 2 else "aligned"
    return f'<div class="{kind}" style="--rows: {n_rows}; --columns: {n_sides}">{sides}</div>'


def comparison_html(comparison: Comparison, *, is_blind: bool = False, link: str = "") -> str:
    """How much the sides have in common, unless it is blind how long each took, and a link to come back by."""
    n_found = max((len(side.candidates) for side in comparison.sides), default=0)
    times = "".join(
        f"<li><b>{escape(side.choice.label)}</b> {format_ms(side.took_ms)}</li>" for side in comparison.sides
    )
    shared = f"{comparison.n_shared} of {n_found} passages were found by {_NUMBERS[len(comparison.sides)]}."
    first = [side.candidates[0].passage.id for side in comparison.sides if side.candidates]
    verdict = "They agree on the first one." if len(set(first)) == 1 else "They disagree on the first one."
    anchor = _copy_link(link, "This corpus, these retrievers and this question")
    return f'<div class="comparison"><p>{shared} {verdict}{anchor}</p>{"" if is_blind else f"<ul>{times}</ul>"}</div>'


def ballot_html(n_sides: int) -> str:
    """A button for each verdict; the page's script says which was pressed."""
    labels = {"tie": "Both are good", "both bad": "Both are bad"}
    best = "better" if n_sides == 2 else "best"
    buttons = "".join(
        f'<button type="button" id="vote-{verdict.replace(" ", "-")}" data-verdict="{verdict}">'
        f"{labels.get(verdict, f'{verdict.capitalize()} is {best}')}</button>"
        for verdict in verdicts_for(n_sides)
    )
    return f'<div class="ballot" role="group" aria-label="Your vote">{buttons}</div>'


def reveal_html(sentence: str, labels: Sequence[str], preferred: str) -> str:
    """What became of a vote, which side was which, and whom it was for, "" for none of them."""
    named = [f"{place} was {label}" for place, label in zip(places(len(labels)), labels, strict=True)]
    which = ", ".join([named[0], *(name[0].lower() + name[1:] for name in named[1:])])
    return notice_html(f"{sentence} {which}{f': you preferred {preferred}' if preferred else ''}.", "done")
