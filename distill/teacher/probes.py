"""Questions whose answer is known, planted among passages drawn at random: whoever judges at all finds it."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from distill.jsonl import Record
from distill.teacher.modes import Mode, order_question
from distill.teacher.talk import Asks, Limits, Order
from indexes.types import Passage

N_PROBES = 20
N_SHOWN = 10
_READ = 500  # characters of a passage that a question may be taken from: the rest may not be shown
_WORDS = range(6, 41)  # of a sentence that stands for a question


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question, passages, and which of them (from 0) is the plant."""

    id: str
    question: str
    passages: tuple[str, ...]
    plant: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """Whether the plant came first, or last, of the `n` passages that were shown."""

    n: int
    is_first: bool
    is_last: bool


def make_probes(
    records: Sequence[Record],
    passages: Sequence[Passage],
    known: Mapping[str, Collection[str]],
    *,
    seed: int,
    n_probes: int = N_PROBES,
    n_shown: int = N_SHOWN,
) -> list[Probe]:
    """At most `n_probes`, drawn by `seed`; none where the corpus has fewer than two different passages.

    The plants are what the questions of the candidate `records` are `known` (passage ids by question) to be answered
    by; where that is not known, a passage is asked for by a sentence of its own.
    """
    draw = random.Random(f"{seed}:probes")  # noqa: S311
    by_text: dict[str, Passage] = {}
    same = {passage.id: by_text.setdefault(" ".join(passage.text.split()), passage) for passage in passages}
    distinct = list(by_text.values())
    asked = [
        (record["id"], record["question"], answers)
        for record in draw.sample(records, len(records))
        if (answers := [same[p] for p in known.get(record["id"], ()) if p in same])
    ]
    probes: list[Probe] = []
    for identifier, question, answers in (*asked, *_of_themselves(distinct, draw)):
        if len(probes) == n_probes:
            break
        plant = draw.choice(answers)
        others = [passage for passage in distinct if passage not in answers]
        if others:
            probes.append(_planted(identifier, question, plant, others, n_shown, draw))
    return probes


def known_answers(
    positives: Mapping[str, Collection[str]], sources: Mapping[str, Collection[str]], passages: Sequence[Passage]
) -> dict[str, list[str]]:
    """The passages that answer a question, by its id: those it was written from, else its `positives`.

    A positive that is a document counts where it is one passage only: which of several answers is not known.
    """
    parts = Counter(passage.document_id for passage in passages)
    whole = {passage.document_id: passage.id for passage in passages if parts[passage.document_id] == 1}
    ids = {passage.id for passage in passages}
    found = {q: [p if p in ids else whole[p] for p in each if p in ids or p in whole] for q, each in positives.items()}
    return found | {question: list(each) for question, each in sources.items() if each}


def _of_themselves(passages: Sequence[Passage], draw: random.Random) -> Iterator[tuple[str, str, list[Passage]]]:
    for passage in draw.sample(passages, len(passages)):
        sentences = re.split(r"(?<=[.!?。])\s+|\n", passage.text[:_READ])
        fitting = [sentence for sentence in sentences if len(sentence.split()) in _WORDS]
        text = max(fitting, key=len) if fitting else passage.text[: _READ // 4]
        if text.strip():
            yield passage.id, " ".join(text.split()), [passage]


def _planted(
    identifier: str, question: str, plant: Passage, others: Sequence[Passage], n_shown: int, draw: random.Random
) -> Probe:
    """The plant among others, so many of them longer than it that length tells nothing."""
    pool = draw.sample(others, min(len(others), 5 * n_shown))
    n_others = min(n_shown - 1, len(pool))
    n_longer = draw.randint(0, n_others)
    longer = [passage for passage in pool if len(passage.full_text) > len(plant.full_text)]
    shorter = [passage for passage in pool if len(passage.full_text) <= len(plant.full_text)]
    ordered = [*longer[:n_longer], *shorter[: n_others - n_longer], *longer[n_longer:], *shorter[n_others - n_longer :]]
    texts = [passage.full_text for passage in ordered[:n_others]]
    place = draw.randint(0, n_others)
    texts.insert(place, plant.full_text)
    return Probe(id=identifier, question=question, passages=tuple(texts), plant=place)


async def ask_probe(probe: Probe, asker: Asks, mode: Mode, *, seed: int, limits: Limits) -> ProbeAnswer:
    """What the teacher makes of `probe`: one list, or one choice of a few in a mode that asks for choices."""
    shown = list(range(len(probe.passages)))
    mode = Mode(name="listwise" if mode.name == "listwise" else "best-of")
    if mode.name == "best-of":
        others = [place for place in shown if place != probe.plant][: limits.best_set - 1]
        shown = [probe.plant, *others]
    passages = [probe.passages[place] for place in shown]
    key = f"{seed}:probe:{probe.id}"
    order = await order_question(mode, asker, probe.question, passages, key=key, limits=replace(limits, best_top=1))
    return _answer(order, shown.index(probe.plant), len(shown))


def _answer(order: Order, plant: int, n: int) -> ProbeAnswer:
    said = order.order
    return ProbeAnswer(n=n, is_first=bool(said) and said[0] == plant, is_last=len(said) == n and said[-1] == plant)
