"""How much words count beside meaning in a fused search: the mix, what it makes of two rankings, where it is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from indexes.corpus import Corpus
from indexes.errors import InputError, counted
from indexes.types import Candidate

SCALE_DEPTH = 50  # the scores of the first so many passages become 1 … 0, however deep a search looks
_DEFAULT_LEXICAL = 0.4  # see `Mix`


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """A convex combination of two scores (Bruch, Gai & Ingber 2023): `lexical` is the share of BM25's, from 0 (meaning
    alone) to 1 (words alone), the rest is the cosine's.

    `n_orders` is how many orders of a teacher it was learned from, 0 for the default. That one was chosen on training
    questions of three corpora, one kind to words, one not: nDCG@10 0.677, 0.739 and 0.317, where reciprocal rank
    fusion has 0.671, 0.723 and 0.270, and the cosine alone 0.592, 0.706 and 0.317.
    """

    lexical: float = _DEFAULT_LEXICAL
    n_orders: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.lexical <= 1:
            raise InputError(f"A number from 0 (meaning alone) to 1 (words alone) was expected, got {self.lexical}.")

    @property
    def sentence(self) -> str:
        """The mix in words, without a full stop."""
        orders = counted(self.n_orders, "order")
        source = f"as learned from {orders}" if self.n_orders else "the default"
        return f"words count {self.lexical:.1f}, meaning {1 - self.lexical:.1f}, {source}"


DEFAULT_MIX = Mix()


def blend(dense: Sequence[Candidate], lexical: Sequence[Candidate], k: int, mix: Mix = DEFAULT_MIX) -> list[Candidate]:
    """The `k` best passages of two rankings by their mixed scores, each passage once.

    Each ranking's scores are stretched from 1 for its first passage to 0 for its fiftieth, or where it has fewer, to 0
    for its last cosine and for a passage without a word of the question. What is below or not in it counts 0 there, so
    that looking deeper changes nothing above. Equal scores stand by their best place in either ranking, then by id.
    With a share of 0 or 1 one ranking comes back as it is, with its own scores.
    """
    if mix.lexical in (0, 1):
        return list((lexical if mix.lexical else dense)[:k])
    last = min((candidate.score for candidate in dense), default=0.0)
    parts = ((dense, 1 - mix.lexical, last), (lexical, mix.lexical, 0.0))
    scores: dict[str, float] = {}
    places: dict[str, int] = {}
    for ranking, share, lowest in parts:
        floor = ranking[SCALE_DEPTH - 1].score if len(ranking) >= SCALE_DEPTH else lowest
        stretched = stretch([candidate.score for candidate in ranking], floor)
        for place, (candidate, score) in enumerate(zip(ranking, stretched, strict=True)):
            name = candidate.passage.id
            scores[name] = scores.get(name, 0.0) + share * max(score, 0.0)
            places[name] = min(places.get(name, place), place)
    passages = {candidate.passage.id: candidate.passage for candidate in (*dense, *lexical)}
    best = sorted(scores, key=lambda name: (-scores[name], places[name], name))[:k]
    return [Candidate(passage=passages[name], score=scores[name]) for name in best]


def stretch(scores: Sequence[float], floor: float) -> list[float]:
    """`scores` such that the highest is 1 and `floor` is 0; 1 for all where none is above it."""
    high = max(scores, default=floor)
    return [(score - floor) / (high - floor) if high > floor else 1.0 for score in scores]


def kept_mix(corpus: Corpus, encoder: str) -> Mix | None:
    """The mix that was learned for `corpus` with the vectors of `encoder`, None if none was."""
    kept = corpus.meta(_key(encoder))
    return Mix(**json.loads(kept)) if kept else None


def learned_mixes(meta: Mapping[str, str]) -> list[tuple[str, str]]:
    """What of `meta`, which somebody else wrote, are mixes."""
    found = [(key, Mix(**json.loads(value))) for key, value in meta.items() if key.startswith(_key(""))]
    return [(key, json.dumps(asdict(mix))) for key, mix in found]


def keep_mix(corpus: Corpus, encoder: str, mix: Mix) -> None:
    """Notes that fused searches of `corpus` with the vectors of `encoder` use `mix` from now on."""
    with corpus.connect() as connection:
        row = (_key(encoder), json.dumps(asdict(mix)))
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", row)


def _key(encoder: str) -> str:
    return f"mix of {encoder}"
