"""The passages of an index as points in the plane, by principal components; pure but for reading the index."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.plots import COLOURS, FAINT, INK, ROW, Drawing, dot, legend, text
from indexes.passage_index import PassageIndex
from indexes.types import Passage, Vectors

N_SAMPLED = 1500
N_NEIGHBOURS = 10
_SEED = 0
_SIZE, _HEIGHT, _MARGIN = 640.0, 460.0, 12.0
_N_GROUPS = len(COLOURS) - 1  # the last colour, a grey, is for all other documents
_HINT_CHARACTERS = 70

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """The two directions (2, D) in which vectors differ most, and the mean (D,) that they are seen from."""

    mean: Points
    axes: Points
    share: float

    def place(self, vectors: Vectors) -> Points:
        """Where unit vectors (N, D) lie, shape (N, 2)."""
        return np.asarray((vectors - self.mean) @ self.axes.T, dtype=np.float64)


def find_plane(vectors: Vectors) -> Plane:
    """The plane of the first two principal components of `vectors` (N, D); `share` is the variance that it shows."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = np.asarray(vectors - mean, dtype=np.float64)
    values, axes = np.linalg.eigh(centred.T @ centred)  # ascending
    axes = axes[:, ::-1][:, :2].T
    # The sign of a component is arbitrary; one rule, and the same corpus always looks the same.
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    total = float(values.sum())
    return Plane(mean=mean, axes=axes * signs[:, None], share=float(values[-2:].sum()) / total if total > 0 else 0.0)


def sample(passages: Sequence[Passage], n: int) -> list[Passage]:
    """At most `n` of `passages`, drawn with a fixed seed, in their order."""
    if len(passages) <= n:
        return list(passages)
    places = sorted(random.Random(_SEED).sample(range(len(passages)), n))  # noqa: S311 - no secret
    return [passages[place] for place in places]


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageMap:
    """Sampled passages of a corpus, as it was with this `content`, their points, and the plane to place others in."""

    corpus: str
    content: str
    encoder: str
    n_passages: int
    passages: tuple[Passage, ...]
    points: Points
    plane: Plane


def make_map(
    encoder: str, passages: Sequence[Passage], index: PassageIndex, corpus: str = "", content: str = ""
) -> PassageMap:
    """The map of a sample of `passages` by the vectors that `index` has of them."""
    drawn = sample(passages, N_SAMPLED)
    vectors = index.vectors([passage.id for passage in drawn])
    plane = find_plane(vectors)
    return PassageMap(
        corpus=corpus,
        content=content,
        encoder=encoder,
        n_passages=len(passages),
        passages=tuple(drawn),
        points=plane.place(vectors),
        plane=plane,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What one retriever found for a question, and where that lies, shape (N, 2)."""

    retriever: str
    passages: tuple[Passage, ...]
    points: Points


def draw_map(map_: PassageMap, question: Points | None = None, found: Sequence[Neighbours] = ()) -> Drawing:
    """The map, coloured by file (or by document where there is one file), with rings around what was found.

    `question` is the question's point, shape (2,).
    """
    groups = _groups(map_.passages)
    counts = Counter(groups.values())
    largest = sorted(counts, key=lambda name: (-counts[name], name))[:_N_GROUPS]
    colours = dict(zip(largest, COLOURS, strict=False))
    everything = [map_.points, *(each.points for each in found), *([question[None]] if question is not None else [])]
    to_page = _fit(np.vstack(everything))
    marks = [
        dot(x, y, 3, colours.get(groups[each.id], COLOURS[-1]), _hint(each))
        for each, (x, y) in zip(map_.passages, to_page(map_.points), strict=True)
    ]
    named = [(f"{name} ({counts[name]:,})", colour, True) for name, colour in colours.items()]
    if n_others := len(counts) - len(colours):
        named.append((f"{n_others:,} others", COLOURS[-1], True))
    for place, each in enumerate(found):
        colour = (INK, "#d55e00", "#009e73")[place % 3]
        for passage, (x, y) in zip(each.passages, to_page(each.points), strict=True):
            marks.append(dot(x, y, 6 + 3.5 * place, colour, f"{each.retriever}: {_hint(passage)}", is_filled=False))
        named.append((f"found by {each.retriever}", colour, False))
    if question is not None:
        x, y = to_page(question[None])[0]
        marks.append(text(x, y + 7, "✕", "middle", is_bold=True))
        named.append(("✕ the question", FAINT, True))
    marks += legend(named, _MARGIN, _HEIGHT)
    height = _HEIGHT + ROW * len(named) + 4
    return Drawing(width=_SIZE, height=height, label=f"Map of {len(map_.passages):,} passages", marks=marks)


def _groups(passages: Sequence[Passage]) -> dict[str, str]:
    """Passage id → what it is coloured by: its file, or its document where all are of one file."""
    by_file = len({passage.source for passage in passages}) > 1
    return {passage.id: passage.source if by_file else passage.document_id for passage in passages}


def _hint(passage: Passage) -> str:
    text = " ".join((passage.title or passage.text).split())
    return f"{passage.document_id}: {text[:_HINT_CHARACTERS]}"


def _fit(points: Points) -> Callable[[Points], Points]:
    """From points of the plane to places of the drawing, so that all of `points` are on it."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    room = np.array([_SIZE - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN])
    return lambda given: np.asarray(_MARGIN + (given - low) / span * room, dtype=np.float64)
