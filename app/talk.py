"""What was asked, and what was asked before it → safe HTML: pure. Every text of a visitor or an LLM is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from app.conversation import Turn
from app.markdown import to_safe_html
from app.rendering import aside_html


def asked_html(question: str, searched: str = "", remark: str = "", link: str = "") -> str:
    """The question as it was typed, where it was rewritten the one that was searched for, and a link to it."""
    note = f'<p class="aside">Searched for: <q class="searched">{escape(searched)}</q></p>' if searched else ""
    anchor = (
        f' <a class="link" href="{escape(link)}" title="This corpus, retriever and question">Link</a>' if link else ""
    )
    return f'<h2 class="asked">{escape(question)}{anchor}</h2>{note}{aside_html(remark) if remark else ""}'


def turns_html(turns: Sequence[Turn]) -> str:
    """The conversation so far, each turn to be opened."""
    if not turns:
        return ""
    items = "".join(
        f"<li><details><summary>{escape(turn.question)}</summary>"
        f'<div class="text">{to_safe_html(turn.answer, 0, lambda number, claim: "")}</div></details></li>'
        for turn in turns
    )
    head = f"Earlier in this conversation ({len(turns)})"
    return (
        f'<section class="turns" aria-label="Earlier questions"><h3>{head}</h3><ol>{items}</ol></section>'
        if turns
        else ""
    )
