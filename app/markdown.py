"""An LLM's Markdown → HTML that cannot load, link to or run anything: pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING

from app.answering import find_citations
from app.attribution import last_sentence

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# Without these rules an address stays text, an image stays its source, and HTML is shown as written.
_DISABLED = ["link", "image", "autolink", "reference", "html_block", "html_inline"]


Link = Callable[[int, str], str]
"""The link of a citation, as safe HTML: from the number of the passage and what it is cited for."""


def to_safe_html(text: str, n_passages: int, link: Link) -> str:
    """`text` as HTML, every citation of passage n turned into `link(n, the sentence that it ends)`."""
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
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


def citation_link(number: int, anchor: str, span: tuple[int, int] | None = None) -> str:
    """The link of one citation of the element `anchor`; `span`: the characters that it means, as a browser counts."""
    marks = f' data-start="{span[0]}" data-end="{span[1]}"' if span else ""
    return f'<a class="citation" href="#{escape(anchor)}"{marks} aria-label="Open passage {number}">{number}</a>'
