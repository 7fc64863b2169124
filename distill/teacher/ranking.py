"""The teacher: an LLM that puts candidates in order, asked honestly and accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from distill.json_files import appending, read_records
from distill.llm.calls import Asker, work_through
from distill.records import CandidateList, Ranking
from distill.teacher.aggregation import first_agreement
from distill.teacher.asking import Order, n_shuffles, order_question
from indexes.errors import LLMError

_MOST_NAMED = 3  # of the questions that were given up; the file has all


def rank_candidates(
    records: Sequence[CandidateList],
    texts: Mapping[str, str],
    asker: Asker,
    file: Path,
    *,
    mode: str = "listwise",
    seed: int,
    on_progress: Callable[[int, int], None],
    weight: float = 1.0,
) -> list[Ranking]:
    """The ranking of each list of candidates that has two candidates or more, as `file` then holds them.

    `weight` is how much a list counts that was asked only once; one with several passes counts by how often they put
    the same passage first. `file` grows line by line, and what stands in it is not asked again. A question whose
    requests fail stands there without an order once all are done, with the reason; if work ends before, it is asked
    again.
    """
    done = {record.id for record in read_records(file, Ranking)}
    waiting = [record for record in records if record.id not in done and len(record.passages) > 1]
    total = len(done) + len(waiting)
    on_progress(len(done), total)
    shuffles = n_shuffles(mode)
    jobs = [partial(ask_order, record, texts, shuffles=shuffles, seed=seed) for record in waiting]
    failed: list[Ranking] = []
    with appending(file) as append:
        for n_done, (position, order) in enumerate(work_through(asker, jobs) if jobs else (), start=len(done) + 1):
            if isinstance(order, LLMError):
                failed.append(replace(as_ranking(waiting[position], Order(), 0.0), failed=str(order)))
            else:
                append(as_ranking(waiting[position], order, weight))
            on_progress(n_done, total)
        for each in failed:
            append(each)
    return read_records(file, Ranking)


def given_up(rankings: Sequence[Ranking]) -> str:
    """Which questions got no reply that could be used, and why; "" if all did."""
    failed = [f"'{record.id}': {record.failed}" for record in rankings if record.failed]
    shown = " ".join(failed[:_MOST_NAMED]) + (
        f" (and {len(failed) - _MOST_NAMED} more)" if failed[_MOST_NAMED:] else ""
    )
    return f"{len(failed)} of {len(rankings)} questions were given up. {shown}" if failed else ""


async def ask_order(
    record: CandidateList, texts: Mapping[str, str], asker: Asker, *, shuffles: int, seed: int, repeat: int = 0
) -> Order:
    """The teacher's order of the record's candidates; another `repeat` shows them in another order."""
    passages = [texts[identifier] for identifier in record.passages]
    key = f"{seed}:{record.id}"
    return await order_question(asker, record.question, passages, key=key, shuffles=shuffles, repeat=repeat)


def as_ranking(record: CandidateList, order: Order, weight: float = 1.0) -> Ranking:
    """What is kept of an order; `weight` counts where it has not two passes that say something."""
    ids = record.passages
    same_first = first_agreement(order.passes)
    return Ranking(
        id=record.id,
        ranking=tuple(ids[position] for position in order.order),
        status=order.status,
        shown=tuple(ids[position] for position in order.shown),
        n_asked=order.n_asked,
        reply=order.reply,
        weight=weight if same_first is None else agreement_weight(same_first, len(ids)),
    )


def no_order(identifier: str, shown: Sequence[str] = ()) -> Ranking:
    """That nobody has put a question's passages in order; it counts for nothing."""
    return Ranking(id=identifier, ranking=(), shown=tuple(shown), weight=0.0)


def agreement_weight(same_first: float, n: int) -> float:
    """How much an order of `n` counts of whose pairs of passes that share puts the same first: 0 at chance, 1 if all
    do (Cohen's κ).
    """
    return round(max(0.0, (same_first - 1 / n) / (1 - 1 / n)), 4)


def place_positives(ranking: Ranking, positives: Collection[str]) -> Ranking:
    """The ranking with the known positives among its candidates before all others.

    Those that the teacher placed keep their order and come before those that it did not place. A list that counts for
    nothing becomes its positives alone, and counts: those are known.
    """
    known = [identifier for identifier in ranking.shown if identifier in positives]
    if not known:
        return ranking
    placed = ranking.ranking
    front = (*(p for p in placed if p in known), *(p for p in known if p not in placed))
    if ranking.weight == 0:
        return replace(ranking, ranking=front, weight=1.0)
    return replace(ranking, ranking=(*front, *(p for p in placed if p not in known)))


def status_shares(rankings: Sequence[Ranking]) -> dict[str, float]:
    """The share of each status among `rankings`, and of all that were not ok as `malformed`."""
    counts = Counter(record.status for record in rankings)
    n = max(1, len(rankings))
    shares = {status: counts[status] / n for status in ("ok", "repaired", "partial", "refused")}
    return shares | {"malformed": 1 - shares["ok"] if rankings else 0.0}


def place_shares(best_at: Sequence[tuple[int, ...]]) -> list[float]:
    """The share of each place among (place of the best, passages shown); prompts of the commonest number only."""
    if not best_at:
        return []
    [(n_shown, n_prompts)] = Counter(n for _, n in best_at).most_common(1)
    counts = Counter(place for place, n in best_at if n == n_shown)
    return [counts[place] / n_prompts for place in range(n_shown)]
