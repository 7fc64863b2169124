"""How much words count beside meaning in the fused search of a corpus, learned from the same orders as its encoder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from math import log2

import numpy as np

from distill.json_files import read_json, write_json
from distill.jsonl import Record, read_records
from distill.labelling import orders
from distill.run import Distillation
from indexes.lexical import Searchable
from indexes.mixes import DEFAULT_MIX, SCALE_DEPTH, Mix, blend, keep_mix, kept_mix
from indexes.types import Candidate

_FILE = "mix.json"  # encoder → its mix
_SHARES = tuple(step / 10 for step in range(11))
_CUTOFF = 10  # of nDCG, as in the verdict
# An order adds at most 1 to a share's sum; straying by d from the prior costs 40 · d². On training questions of three
# corpora, 300 draws each: on average at most 0.001 nDCG@10 below the prior from 5 orders on, and at most
# 0.003 below the best share from 100 on.
_PULL = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a teacher put first for one question, how much that counts, and what meaning and words find for it."""

    question: str
    best: str
    dense: Sequence[Candidate]
    lexical: Sequence[Candidate]
    weight: float = 1.0


def fit_mix(heard: Sequence[Heard], prior: Mix = DEFAULT_MIX) -> Mix:
    """The mix of eleven that puts what the teacher put first highest by nDCG@10, held near `prior` by few orders.

    All that both searches find competes, not only what the teacher was shown. Among the passages shown alone any share
    from 0.1 to 0.9 does about as well on `stdlib` (MRR 0.46 to 0.48): the harm of words is in what only they find.
    """
    if not heard:
        return prior
    total = np.array([-_PULL * (share - prior.lexical) ** 2 for share in _SHARES])
    for each in heard:
        total += each.weight * np.array([_gain(each, share) for share in _SHARES])
    return Mix(lexical=_SHARES[int(np.argmax(total))], n_orders=len(heard))


def _gain(heard: Heard, share: float) -> float:
    """nDCG@10 of the mixed list where nothing but the teacher's first is relevant."""
    found = blend(heard.dense, heard.lexical, _CUTOFF, Mix(lexical=share))
    place = next((n for n, candidate in enumerate(found, start=1) if candidate.passage.id == heard.best), 0)
    return 1 / log2(place + 1) if place else 0.0


def learn_mixes(run: Distillation, indexes: Mapping[str, Searchable], apart: Sequence[Record] = ()) -> dict[str, Mix]:
    """The mix for each of these indexes by the name of its encoder, written to the run's folder; the base is one.

    The base learns from all orders, held near the mix that the corpus had for it before. An encoder that was taught
    puts what it was taught first far too high: from those orders 0.2 would be learned on ObliQA (nDCG@10 0.636), where
    0.6 is best (0.682). So it learns from the orders `apart`, which trained nothing, held near the mix that it had
    before or else near the base's, and has that one where there are none.
    """
    known = read_json(run.file(_FILE))
    if known.keys() >= indexes.keys():
        return {name: Mix(**known[name]) for name in indexes}
    base, folder = run.config.base, run.corpus.folder
    found = orders(run) | {record["id"]: record for record in apart}
    fair = hear(read_records(run.file("candidates.jsonl")), found, run.index, run.lexical, run.texts)
    mixes = {base: fit_mix(list(fair.values()), kept_mix(folder, base) or DEFAULT_MIX)}
    unseen = [fair[record["id"]] for record in apart if record["id"] in fair]
    for name in indexes:
        if name != base:
            rankings = indexes[name].search_many([each.question for each in unseen], SCALE_DEPTH)
            heard = [replace(each, dense=dense) for each, dense in zip(unseen, rankings, strict=True)]
            mixes[name] = fit_mix(heard, kept_mix(folder, name) or mixes[base])
    write_json(run.file(_FILE), {name: asdict(mix) for name, mix in mixes.items()})
    return mixes


def hear(
    records: Sequence[Record],
    found: Mapping[str, Record],
    dense: Searchable,
    lexical: Searchable,
    texts: Mapping[str, str],
) -> dict[str, Heard]:
    """By question id what the orders `found` of the candidate `records` say, where what they put first had to be shown
    by one search or the other.
    """
    ordered = [record for record in records if record["id"] in found]
    questions = [record["question"] for record in ordered]
    rankings = (search.search_many(questions, SCALE_DEPTH) for search in (dense, lexical))
    heard = {}
    for record, by_meaning, by_words in zip(ordered, *rankings, strict=True):
        order = found[record["id"]]
        each = Heard(
            question=record["question"],
            best=order["ranking"][0],
            dense=by_meaning,
            lexical=by_words,
            weight=order.get("weight", 1.0),
        )
        if was_open(each, {texts[passage] for passage in order["shown"]}):
            heard[record["id"]] = each
    return heard


def was_open(heard: Heard, shown: Collection[str]) -> bool:
    """Whether one search alone would have had the teacher's first `shown` (texts): whether it stands in one of the two
    rankings as far down as all passages were shown.

    What a fused retrieval shows is what both searches have, which speaks for an even mix whatever the truth: on
    `stdlib`, with perfect orders of the fused ten, half and half would be learned (nDCG@10 0.290), but 0.4 (0.317)
    where only these count.
    """
    return any(
        candidate.passage.id == heard.best
        for ranking in (heard.dense, heard.lexical)
        for candidate in takewhile(lambda each: each.passage.full_text in shown, ranking)
    )


def keep_mixes(run: Distillation, mixes: Mapping[str, Mix], *, promoted: bool) -> None:
    """Keeps with the corpus what was learned for its encoders; for the base only if another was promoted, as without
    that a run changes nothing of what was there before it.
    """
    indexed = {info.encoder for info in run.corpus.indexes()}
    for name, mix in mixes.items():
        if mix.n_orders and name in indexed and (promoted or name != run.config.base):
            keep_mix(run.corpus.folder, name, mix)
