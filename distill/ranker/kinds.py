"""Which rankers stage 1 begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.ranker.cross_encoder import CrossEncoderRanker
from distill.ranker.ranker import LateInteractionRanker, Ranker
from distill.ranker.token_vectors import TokenVectors
from indexes.errors import InputError, NotFoundError
from indexes.paths import DataPaths

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

KINDS = ("auto", LateInteractionRanker.kind, CrossEncoderRanker.kind)
DEFAULT_CROSS_ENCODER = "cross-encoder/ms-marco-MiniLM-L6-v2"
_NEW_HEAD = (
    "'{}' is no cross-encoder that has learned to rank: its last layer begins by chance, and hundreds of orders do not "
    "teach it. Begin from one that was trained to score pairs (--ranker-base), or take late interaction."
)


def begin_rankers(
    kind: str,
    base: SentenceTransformer,
    paths: DataPaths,
    *,
    cross_encoder: str = "",
    seed: int,
    local_files_only: bool = False,
    token_vectors: TokenVectors | None = None,
) -> tuple[list[Ranker], tuple[str, ...]]:
    """The rankers to train for `kind`, one of `KINDS`, and sentences on any that had to be left out.

    Late interaction begins from `base`, the cross-encoder from the model of that name ("": `DEFAULT_CROSS_ENCODER`).
    With "auto" it is both, for `train_best_ranker` to choose from; a cross-encoder that is not to be had, or has a new
    head, is then left out. With "cross-encoder" the one that cannot be loaded is a `NotFoundError`.
    """
    if kind not in KINDS:
        raise InputError(f"A ranker is one of {', '.join(KINDS)}; '{kind}' is none of them.")
    if kind == LateInteractionRanker.kind:
        return [LateInteractionRanker.from_encoder(base, token_vectors)], ()
    name = cross_encoder or DEFAULT_CROSS_ENCODER
    try:
        other = CrossEncoderRanker.begin(
            name, paths, seed=seed, device=str(base.device), local_files_only=local_files_only
        )
    except NotFoundError as error:
        if kind == CrossEncoderRanker.kind:
            raise
        return [LateInteractionRanker.from_encoder(base, token_vectors)], (f"Only late interaction was tried. {error}",)
    if kind == CrossEncoderRanker.kind:
        return [other], (_NEW_HEAD.format(name),) if other.has_new_head else ()
    late = LateInteractionRanker.from_encoder(base, token_vectors)
    if other.has_new_head:
        return [late], (f"Only late interaction was tried: '{name}' is no cross-encoder that has learned to rank.",)
    return [late, other], ()
