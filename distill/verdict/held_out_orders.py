"""Orders of the teacher's that never train, and judge where no question can: its own word, and named as that.

Nobody has said which documents answer the questions; so what is asked is whether a retriever puts the passage that the
teacher put first higher than another retriever does, among all passages that the teacher was shown. That tells whether
training has carried the teacher's opinion into the retriever, and whether training without it has moved the retriever
away from it. Whether the opinion is any good it does not tell, so nothing is promoted by it.
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable, Mapping, Sequence

from distill.jsonl import Record
from distill.verdict.advice import Advice, advice_on
from distill.verdict.verdict import Rows, Verdict
from indexes.evaluation import FEW_QUERIES, Comparison, MetricsByQuery, compare_runs

FIRST_CHOICE = "first_choice_mrr"
_SHARE = 6  # one in so many orders is kept out

Scores = Callable[[str, Sequence[str]], Sequence[float]]  # question, passage ids → a score for each


def draw(rankings: Sequence[Record], seed: int) -> list[str]:
    """Ids of the questions whose orders are to be kept out of training: a sixth, at least `FEW_QUERIES`, by `seed`.

    None where that would take more than a third of them.
    """
    ids = sorted(record["id"] for record in rankings if len(record["ranking"]) > 1)
    n = max(FEW_QUERIES, len(ids) // _SHARE)
    return sorted(random.Random(seed).sample(ids, n)) if 3 * n <= len(ids) else []  # noqa: S311


def first_choice_ranks(rankings: Sequence[Record], questions: Mapping[str, str], scores: Scores) -> MetricsByQuery:
    """For each order, by question id, 1 / (the place among the passages shown at which `scores` put the teacher's
    first). Equal scores count half of those that they tie with.
    """
    found: MetricsByQuery = {}
    for record in rankings:
        shown = list(dict.fromkeys(record["shown"]))
        values = scores(questions[record["id"]], shown)
        best = values[shown.index(record["ranking"][0])]
        place = sum(value > best for value in values) + (sum(value == best for value in values) + 1) / 2
        found[record["id"]] = {FIRST_CHOICE: 1 / place}
    return found


def decide_by_orders(by_row: Mapping[str, MetricsByQuery], rows: Rows, *, corpus: str, trust: str = "") -> Verdict:
    """The verdict where nothing but held-out orders judges; `by_row` has `FIRST_CHOICE` by question for each row.

    Without any (`by_row` is empty) nothing could be measured. Nothing is promoted in either case.
    """
    stays = f"'{rows.standing}' stays promoted" if rows.standing else "the baseline stays"
    if not by_row:
        return _verdict(
            f"No held-out question says which documents answer it, so nothing could be measured: {stays}.",
            advice_on("unjudged", trust=trust),
        )
    own = rows.taught or rows.control
    c = compare_orders(by_row, rows.base, own)
    harm = rows.taught and rows.control and compare_orders(by_row, rows.base, rows.control).high < 0
    control = f"; the free control: {_said(compare_orders(by_row, rows.base, rows.control))}" if rows.control else ""
    promote = f"python -m distill promote {shlex.quote(corpus)} {shlex.quote(own)}" if c.low > 0 else ""
    return _verdict(
        f"No held-out question says which documents answer it. By the teacher's own word, {c.n_queries:,} orders that "
        f"trained nothing, what it puts first stands {_higher(c)} than the base has it (mean reciprocal rank "
        f"{_said(c)}{control}). That is no judgement, so {stays}.",
        advice_on("unjudged", control_harms=bool(harm), trust=trust, promote=promote),
        n=c.n_queries,
    )


def compare_orders(by_row: Mapping[str, MetricsByQuery], a: str, b: str) -> Comparison:
    """Row `b` against row `a` on the held-out orders."""
    return compare_runs(by_row[a], by_row[b], FIRST_CHOICE)


def _verdict(sentence: str, advice: tuple[Advice, ...], n: int = 0) -> Verdict:
    return Verdict(
        encoder="",
        promoted=False,
        on_trial=False,
        judged_by="orders" if n else "",
        reason="unjudged",
        sentence=sentence,
        advice=advice,
        n_questions=n,
    )


def _higher(c: Comparison) -> str:
    return "higher" if c.low > 0 else "lower" if c.high < 0 else "not surely higher or lower"


def _said(c: Comparison) -> str:
    return f"{c.mean_a:.3f} → {c.mean_b:.3f}, {c.difference:+.3f}, {c.low:+.3f} to {c.high:+.3f}"
