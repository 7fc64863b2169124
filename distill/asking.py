"""Many requests to one LLM, a set number at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from distill.llm import llm_errors


def ask_all(
    llm: BaseChatModel, prompts: Sequence[Sequence[BaseMessage]], *, concurrency: int
) -> Iterator[tuple[int, str]]:
    """(position, reply) of each prompt as it completes.

    The first failure ends it with a `UserError`; replies that came before have been yielded, so nothing is lost.
    """
    inputs = [list(prompt) for prompt in prompts]
    with llm_errors():
        for position, message in llm.batch_as_completed(inputs, config={"max_concurrency": concurrency}):
            yield position, str(message.text)
