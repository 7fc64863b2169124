"""An LLM's Markdown → HTML that cannot load, link to or run anything: pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from html import escape
from typing import TYPE_CHECKING

from app.answering import find_citations

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# Without these rules an address stays text, an image stays its source, and HTML is shown as written.
_DISABLED = ["link", "image", "autolink", "reference", "html_block", "html_inline"]


def to_safe_html(text: str, n_passages: int, anchor: Callable[[int], str]) -> str:
    """`text` as HTML, every citation of passage n turned into a link to `#anchor(n)` on the same page."""
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        if token.children:
            token.children = [new for child in token.children for new in _linked(child, n_passages, anchor)]
    return str(parser.renderer.render(tokens, parser.options, {}))


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(_DISABLED).enable("table")


def _linked(token: Token, n_passages: int, anchor: Callable[[int], str]) -> list[Token]:
    """`token`, or if it is text with citations: its pieces, the links as ready HTML between them."""
    citations = find_citations(token.content, n_passages) if token.type == "text" else []
    pieces, cursor = [], 0
    for citation in citations:
        pieces.append(_piece(token, "text", token.content[cursor : citation.start]))
        pieces.append(_piece(token, "html_inline", "".join(citation_link(n, anchor(n)) for n in citation.numbers)))
        cursor = citation.end
    return [*pieces, _piece(token, "text", token.content[cursor:])] if pieces else [token]


def _piece(token: Token, kind: str, content: str) -> Token:
    return token.copy(type=kind, content=content)


def citation_link(number: int, anchor: str) -> str:
    """The link of one citation."""
    return f'<a class="citation" href="#{escape(anchor)}" aria-label="Open passage {number}">{number}</a>'
