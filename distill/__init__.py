"""Intermediate Distillation (arXiv 2406.12169): an LLM's order → a ranker → a retriever.

What stands in `__all__` is for other programs. It is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.ranker.rerank import open_ranker_compressor, open_taught_retriever

__all__ = ["open_ranker_compressor", "open_taught_retriever"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'distill' has no attribute '{name}'")
    from distill.ranker import rerank

    return getattr(rerank, name)
