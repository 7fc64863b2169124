"""Which encoder a corpus is searched with by default, as its manifest remembers it, and the way back."""

from __future__ import annotations

from indexes.corpus import Corpus
from indexes.errors import InputError, NotFoundError
from indexes.manifest import record_promotion, withdraw_promotions
from indexes.paths import DataPaths
from indexes.types import PromotionInfo


def promoted(paths: DataPaths, corpus: str) -> str | None:
    """The promoted encoder of `corpus`, None where the baseline is to be used.

    That is the last one promoted whose index is still there: if it is gone, the one before counts.
    """
    found = Corpus.open(paths, corpus).promoted()
    return found.encoder if found else None


def promote(paths: DataPaths, corpus: str, encoder: str, run: str) -> None:
    """Makes `encoder`, taught by `run`, the one that `corpus` is searched with; nothing changes where it is already.

    Raises `NotFoundError` if the corpus has no index by it, `InputError` if the index lacks passages.
    """
    opened = Corpus.open(paths, corpus)
    _check_index(opened, encoder)
    standing = opened.promoted()
    if standing is None or standing.encoder != encoder:
        record_promotion(opened.folder, encoder, run)


def rollback(paths: DataPaths, corpus: str) -> str | None:
    """The encoder that counts again now that the promoted one is withdrawn, None for the baseline.

    Raises `InputError` if no encoder is promoted.
    """
    opened = Corpus.open(paths, corpus)
    before = opened.promoted()
    if before is None:
        raise InputError(
            f"Corpus '{opened.name}' has no promoted encoder, so there is none to roll back: the baseline is in use."
        )
    after: PromotionInfo | None = before
    while after and after.encoder == before.encoder:  # it may have been promoted twice, with others between
        withdraw_promotions(opened.folder, after.number)
        after = opened.promoted()
    return after.encoder if after else None


def _check_index(corpus: Corpus, encoder: str) -> None:
    info = next((each for each in corpus.indexes() if each.encoder == encoder), None)
    build = f"python -m indexes add '{corpus.name}' --encoder '{encoder}'"
    if info is None:
        raise NotFoundError(
            f"Encoder '{encoder}' cannot be promoted: corpus '{corpus.name}' has no complete index by it. Build it "
            f"with: {build}"
        )
    n_passages = corpus.info().n_passages
    if info.n_passages < n_passages:
        raise InputError(
            f"Encoder '{encoder}' cannot be promoted: its index of corpus '{corpus.name}' has {info.n_passages:,} of "
            f"{n_passages:,} passages. Complete it with: {build}"
        )
