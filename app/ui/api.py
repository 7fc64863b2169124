"""Ask and Compare as named, typed endpoints: for `gradio_client`, for HTTP, and as tools of an MCP server."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
from gradio.events import api

from app.handlers import endpoints
from app.workbench import Workbench

_N_AT_ONCE = 4
# The docstrings below are what an MCP client reads of its tools; of each argument gradio takes one line.


def build_api(bench: Workbench) -> None:
    """Adds the endpoints /ask and /compare to the page that is being built."""

    def ask(
        question: str, corpus: str = "", retriever: str = "", request: gr.Request | None = None
    ) -> dict[str, Any] | str:
        """Answer a question from a corpus of documents, with numbered citations of its passages.

        With +rerank at the end of a retriever's name the trained ranker puts its passages in order.

        Args:
            question: What to ask, in any language.
            corpus: The corpus to ask; empty for the first one.
            retriever: baseline, distilled, lexical, fused, or an encoder's name; empty for the one in use.
        """
        return _as_read_by(request, endpoints.ask(bench, question, corpus, retriever))

    def compare(
        question: str,
        corpus: str = "",
        left: str = "",
        right: str = "",
        answers: bool = False,
        third: str = "",
        fourth: str = "",
        request: gr.Request | None = None,
    ) -> dict[str, Any] | str:
        """Compare what two to four retrievers find in a corpus of documents for one question.

        Args:
            question: What to ask, in any language.
            corpus: The corpus to ask; empty for the first one.
            left: One retriever, named as for ask; empty for the baseline.
            right: The other one; empty for the one that was taught.
            answers: Whether an answer is written from the passages of each.
            third: A third retriever, named as for ask; empty for none.
            fourth: A fourth retriever, named as for ask; empty for none.
        """
        found = endpoints.compare(bench, question, corpus, left, right, answers, [third, fourth])
        return _as_read_by(request, found)

    for function in (ask, compare):
        api(function, api_name=function.__name__, concurrency_limit=_N_AT_ONCE)


def _as_read_by(request: gr.Request | None, value: dict[str, Any]) -> dict[str, Any] | str:
    """`value` itself, or as a text of JSON for an MCP client.

    gradio's MCP server calls an endpoint as a client of its own, whose requests carry this header, and passes on
    `str(value)`: of a dict that would be Python, which only Python reads.
    """
    is_for_mcp = request is not None and request.headers.get("x-gradio-user") == "mcp"
    return json.dumps(value, ensure_ascii=False) if is_for_mcp else value
