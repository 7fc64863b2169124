"""Which ranker stage 1 begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.ranker.cross_encoder import CrossEncoderRanker
from distill.ranker.ranker import LateInteractionRanker, Ranker
from indexes.paths import DataPaths

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_NEW_HEAD = (
    "'{}' is no cross-encoder that has learned to rank: its last layer begins by chance, and hundreds of orders do not "
    "teach it. Begin from one that was trained to score pairs, such as cross-encoder/ms-marco-MiniLM-L6-v2, or leave "
    "ranker_base out for late interaction."
)


def begin_ranker(
    name: str, base: SentenceTransformer, paths: DataPaths, *, seed: int, local_files_only: bool = False
) -> tuple[Ranker, tuple[str, ...]]:
    """The ranker to train, and sentences on it: the cross-encoder called `name`, "" for late interaction over the token
    vectors of `base`.

    Raises `NotFoundError` for a cross-encoder that cannot be loaded.
    """
    if not name:
        return LateInteractionRanker.from_encoder(base), ()
    ranker = CrossEncoderRanker.begin(
        name, paths, seed=seed, device=str(base.device), local_files_only=local_files_only
    )
    return ranker, (_NEW_HEAD.format(name),) if ranker.has_new_head else ()
