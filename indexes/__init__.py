"""Documents → passages → vectors → Chroma; search; judge. The ground floor: it knows neither `distill` nor `app`.

    from indexes import open_retriever
    open_retriever("handbook", "fused").invoke("How many days of leave do I have?")

What stands in `__all__` is for other programs. It is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexes.encoders.loading import load_encoder
    from indexes.filters import PassageFilter
    from indexes.langchain import EncoderEmbeddings, IndexRetriever, RerankCompressor, open_retriever
    from indexes.paths import DataPaths
    from indexes.retrievers import load_cross_encoder

__all__ = [
    "DataPaths",
    "EncoderEmbeddings",
    "IndexRetriever",
    "PassageFilter",
    "RerankCompressor",
    "load_cross_encoder",
    "load_encoder",
    "open_retriever",
]
_PLACES = {
    "DataPaths": "paths",
    "PassageFilter": "filters",
    "load_cross_encoder": "retrievers",
    "load_encoder": "encoders.loading",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'indexes' has no attribute '{name}'")
    return getattr(import_module(f"indexes.{_PLACES.get(name, 'langchain')}"), name)
