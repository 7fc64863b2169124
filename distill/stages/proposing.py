"""Which passages are put to the teacher: the retrieval that a corpus needs, chosen without labels, and what a file of
orders has shown already.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from distill.candidates import RETRIEVALS, Found, Given, Retrieval, join, mine_candidates, search_both
from distill.json_files import write_json
from distill.run import Distillation
from distill.run_config import FROM_FILE, WITHOUT_LLM
from distill.run_folder import RETRIEVAL, SAMPLE
from distill.teacher.orders import read_given
from distill.teacher.ranking import rank_candidates
from indexes.types import Passage, Query

N_ASKED = 30  # questions of the sample
_N_LOOKED_AT = 300  # questions that the two searches are compared on
_TOP = 10
# BM25's best is among the ten best by meaning for 0.75 of ObliQA's and SciFact's training questions, where fusion finds
# most, and for 0.26 of stdlib's, where it finds less than the dense search alone.
_WORDS_MATCH = 0.5
_SURE = 2.0  # standard errors by which another retrieval has to show more first choices


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A retrieval, and why: `words_match` is the share of questions whose best passage by BM25 is among the ten best by
    meaning; `shares` says how many of the teacher's `n_asked` first choices each retrieval would have shown it.
    """

    retrieval: Retrieval
    words_match: float
    shares: Mapping[str, float]
    n_asked: int
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """Of the questions that a teacher was asked about: what it was shown, its first choices (several where it named a
    document), and what both searches find.
    """

    given: Mapping[str, Given]
    firsts: Mapping[str, Collection[str]]
    found: Mapping[str, Found]


def propose(run: Distillation, queries: Sequence[Query]) -> tuple[Retrieval, Mapping[str, Given]]:
    """What finds the candidates of `run`, and the passages that stand first whatever it finds, by question; the teacher
    is asked about a sample if the retrieval is to be chosen.
    """
    config = run.config
    said = _Said(given={}, firsts={}, found={})
    if config.teacher == FROM_FILE:
        said = _from_file(run, queries)
    elif config.retrieval == "auto" and config.teacher != WITHOUT_LLM:
        said = _ask_sample(run, queries)
    retrieval = config.retrieval
    if retrieval == "auto":
        match = words_match(_search(run, _sample(queries, _N_LOOKED_AT, config.seed)))
        choice = choose_retrieval(said.found, said.firsts, match, config.n_candidates)
        write_json(run.file(RETRIEVAL), asdict(choice))
        run.say("candidates", remark=choice.sentence)
        retrieval = choice.retrieval
    is_given = config.teacher == FROM_FILE
    given = {key: _by_rank(each, said.found[key], retrieval) if is_given else each for key, each in said.given.items()}
    return retrieval, given


def words_match(lists: Sequence[Found]) -> float:
    """The share of questions whose best passage by BM25 is among the ten best by meaning; 0 without questions.

    Where it is low one of the two searches is lost, and fusion lets it speak for half.
    """
    found = [
        bool(each.lexical) and each.lexical[0].passage.id in {c.passage.id for c in each.dense[:_TOP]} for each in lists
    ]
    return sum(found) / max(1, len(found))


def choose_retrieval(
    found: Mapping[str, Found], firsts: Mapping[str, Collection[str]], match: float, n_candidates: int
) -> Choice:
    """The retrieval that shows most of the teacher's `firsts` among `n_candidates`.

    Without any it is fused where words and meaning find the same (`match`), else dense; and that stays unless another
    one shows more by at least two standard errors (McNemar), since a sample is small.
    """
    shows: dict[Retrieval, list[bool]] = {
        retrieval: [
            any(c.passage.id in first for c in join(found[identifier], retrieval, n_candidates))
            for identifier, first in firsts.items()
        ]
        for retrieval in RETRIEVALS
    }
    default: Retrieval = "fused" if match >= _WORDS_MATCH else "dense"
    better = [each for each in RETRIEVALS if _is_surely_more(shows[each], shows[default])]
    chosen = max(better, key=lambda each: sum(shows[each]), default=default)
    n = len(firsts)
    shares = {str(retrieval): round(sum(values) / n, 4) for retrieval, values in shows.items()} if n else {}
    return Choice(
        retrieval=chosen,
        words_match=round(match, 4),
        shares=shares,
        n_asked=n,
        sentence=_sentence(chosen, match, shares, n),
    )


def _is_surely_more(one: Sequence[bool], other: Sequence[bool]) -> bool:
    gained = sum(a and not b for a, b in zip(one, other, strict=True))
    lost = sum(b and not a for a, b in zip(one, other, strict=True))
    return gained - lost >= _SURE * math.sqrt(gained + lost) > 0


def _sentence(chosen: Retrieval, match: float, shares: Mapping[str, float], n: int) -> str:
    said = (
        f"Candidates are found by {chosen} retrieval: the best passage by words is among the ten best by meaning for "
        f"{match:.0%} of the questions"
    )
    if not n:
        return f"{said}."
    shown = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    return f"{said}, and of the teacher's first choices for {n} questions each would have shown: {shown}."


def _search(run: Distillation, queries: Sequence[Query]) -> list[Found]:
    return search_both(queries, run.index, run.lexical, run.config.n_candidates) if queries else []


def _sample(queries: Sequence[Query], n: int, seed: int) -> list[Query]:
    return random.Random(seed).sample(list(queries), min(n, len(queries)))  # noqa: S311


def _ask_sample(run: Distillation, queries: Sequence[Query]) -> _Said:
    """The teacher's first choice, for a few questions, of all that both searches propose."""
    config = run.config
    asked = _sample(queries, N_ASKED, config.seed)
    found = dict(zip([query.id for query in asked], _search(run, asked), strict=True))
    given = {key: _all_shown(_either(each, config.n_candidates)) for key, each in found.items()}
    records = mine_candidates(asked, run.index, run.lexical, 0, given=given)
    orders = rank_candidates(
        records,
        run.texts,
        run.asker,
        run.file(SAMPLE),
        mode=config.mode,
        seed=config.seed,
        on_progress=lambda done, total: run.say("candidates", done, total, "asking the teacher about a sample"),
    )
    firsts = {order.id: order.ranking[:1] for order in orders if order.ranking}
    return _Said(given=given, firsts=firsts, found=found)


def _either(found: Found, n: int) -> list[Passage]:
    """The `n` best passages by meaning and the `n` best by words, in turn."""
    both = Found(dense=join(found, "dense", n), lexical=join(found, "lexical", n))
    return [candidate.passage for candidate in join(both, "union")]


def _all_shown(passages: Sequence[Passage]) -> Given:
    return Given(passages=tuple(passages), n_shown=len(passages))


def _by_rank(given: Given, found: Found, retrieval: Retrieval) -> Given:
    """`given` with its passages in the order of `retrieval`; those that it has not found come last."""
    ranks = {candidate.passage.id: rank for rank, candidate in enumerate(join(found, retrieval))}
    passages = sorted(given.passages, key=lambda passage: ranks.get(passage.id, len(ranks)))
    return replace(given, passages=tuple(passages))


def _from_file(run: Distillation, queries: Sequence[Query]) -> _Said:
    """What the file of orders has shown for each question, whether it is found or not, and its first choices."""
    orders = read_given(Path(run.config.rankings))
    asked = [query for query in queries if query.id in orders]
    n = run.config.n_candidates
    meant = _passages_meant(run)
    given: dict[str, Given] = {}
    firsts: dict[str, Collection[str]] = {}
    found = dict(zip([query.id for query in asked], _search(run, asked), strict=True))
    for query in asked:
        lines, near = orders[query.id], _either(found[query.id], n)
        if passages := meant(query, [each for line in lines for each in (*line.ranking, *(line.shown or ()))], near):
            n_shown = len(passages) if all(line.shown for line in lines) else max(n, len(passages))
            given[query.id] = Given(passages=tuple(passages), n_shown=n_shown)
        if first := meant(query, [line.ranking[0] for line in lines if line.ranking], near):
            firsts[query.id] = {passage.id for passage in first}
    return _Said(given=given, firsts=firsts, found=found)


def _passages_meant(run: Distillation) -> Callable[[Query, Sequence[str], Sequence[Passage]], list[Passage]]:
    """What gives, for a question and the ids in its order, the passages that they name.

    A document stands for those of its passages that are `near` the question, else for the nearest one.
    """
    by_id = {passage.id: passage for passage in run.corpus.passages()}
    by_document: dict[str, list[Passage]] = defaultdict(list)
    for passage in by_id.values():
        by_document[passage.document_id].append(passage)

    def nearest(query: Query, passages: Sequence[Passage]) -> Passage:
        vectors = run.index.vectors([passage.id for passage in passages])
        return passages[int(np.argmax(vectors @ run.index.encoder.encode_queries([query.text])[0]))]

    def meant(query: Query, ids: Sequence[str], near: Sequence[Passage]) -> list[Passage]:
        passages: dict[str, Passage] = {}
        for identifier in dict.fromkeys(ids):
            own = [by_id[identifier]] if identifier in by_id else by_document.get(identifier, [])
            close = [passage for passage in near if passage in own]
            chosen = close or ([nearest(query, own)] if own else [])
            passages |= {passage.id: passage for passage in chosen}
        return list(passages.values())

    return meant
