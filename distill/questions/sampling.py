"""In which order passages are asked about, so that any number of them covers the corpus."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexes.types import Passage, Vectors

_MIN_WORDS = 25  # shorter ones are headings and fragments
_N_CLUSTERS = 64  # topics; our choice
_N_SEEN = 20_000  # passages that the topics are found from; the others are only put into them
_ROUNDS = 8
_AT_ONCE = 4096


def order_by_coverage(
    passages: Sequence[Passage], vectors_of: Callable[[Sequence[str]], Vectors], *, seed: int
) -> list[Passage]:
    """The passages that are long enough to ask about, in an order of which every beginning covers the corpus.

    Passages are clustered by their vectors (`vectors_of` looks them up by passage id). Each beginning of the order
    holds passages of every cluster in proportion to its size, and within a cluster one of each document first. All
    passages are taken where none is long enough.
    """
    usable = [passage for passage in passages if n_words(passage.text) >= _MIN_WORDS] or list(passages)
    if not usable:
        return []
    clusters = _clusters([passage.id for passage in usable], vectors_of, seed)
    rng = random.Random(seed)  # noqa: S311
    keys: list[tuple[float, str]] = []
    ordered: dict[str, Passage] = {}
    for cluster in sorted(set(clusters.tolist())):
        members = [usable[place] for place in np.flatnonzero(clusters == cluster).tolist()]
        start = rng.random()
        for place, passage in enumerate(_one_of_each_document_first(members, rng)):
            keys.append(((place + start) / len(members), passage.id))
            ordered[passage.id] = passage
    return [ordered[identifier] for _, identifier in sorted(keys)]


def n_words(text: str) -> float:
    """How many words `text` has, two letters of a script that is written without spaces counting as one."""
    without_spaces = sum(1 for letter in text if _is_spaceless(letter))
    return len(text.split()) if not without_spaces else without_spaces / 2 + len(_spaced_rest(text).split())


def _is_spaceless(letter: str) -> bool:
    """Whether `letter` is Thai, Lao, Khmer, Burmese, Japanese or Chinese."""
    code = ord(letter)
    return (
        0x0E00 <= code <= 0x0EFF or 0x1000 <= code <= 0x109F or 0x1780 <= code <= 0x17FF or 0x3040 <= code <= 0x30FF
    ) or (0x3400 <= code <= 0x9FFF or 0x20000 <= code <= 0x323AF)


def _spaced_rest(text: str) -> str:
    return "".join(" " if _is_spaceless(letter) or letter in "。、，！？" else letter for letter in text)


def _one_of_each_document_first(passages: Sequence[Passage], rng: random.Random) -> list[Passage]:
    seen: set[str] = set()
    first: list[Passage] = []
    others: list[Passage] = []
    for passage in rng.sample(list(passages), len(passages)):
        (others if passage.document_id in seen else first).append(passage)
        seen.add(passage.document_id)
    return [*first, *others]


def _clusters(ids: Sequence[str], vectors_of: Callable[[Sequence[str]], Vectors], seed: int) -> NDArray[np.int64]:
    """The cluster of each passage, shape (N,), by spherical k-means (Dhillon & Modha 2001) over its unit vector."""
    rng = np.random.default_rng(seed)
    seen = sorted(rng.permutation(len(ids))[:_N_SEEN].tolist())
    vectors = np.asarray(vectors_of([ids[place] for place in seen]), dtype=np.float32)
    n_clusters = max(1, min(_N_CLUSTERS, len(seen) // 8))
    centres = vectors[rng.permutation(len(vectors))[:n_clusters]]  # (C, D)
    for _ in range(_ROUNDS):
        nearest = (vectors @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, vectors)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)  # an empty one stays where it is
    found = np.zeros(len(ids), dtype=np.int64)
    for first in range(0, len(ids), _AT_ONCE):
        part = np.asarray(vectors_of(ids[first : first + _AT_ONCE]), dtype=np.float32)
        found[first : first + len(part)] = (part @ centres.T).argmax(axis=1)
    return found
