"""Metrics are pytrec_eval's to 1e-9, tests of a difference are scipy's."""

import itertools

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from indexes.evaluation import compare_runs, evaluate_run

DOCUMENTS = [f"d{n}" for n in range(30)]
QUESTIONS = st.sampled_from([f"q{n}" for n in range(4)])
# Few values, so that many scores are equal: where ties are broken another way, another document is cut off.
RUNS = st.dictionaries(
    QUESTIONS,
    st.dictionaries(st.sampled_from(DOCUMENTS), st.sampled_from([0.0, 0.5, 1.0, 2.5, -1.0, 1e-7]), max_size=30),
)
QRELS = st.dictionaries(
    QUESTIONS, st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1, max_size=12), min_size=1
)


@settings(max_examples=150)
@given(qrels=QRELS, run=RUNS, cutoffs=st.sets(st.integers(1, 40), min_size=1, max_size=5))
def test_every_metric_at_every_cutoff_is_pytrec_evals(
    qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]], cutoffs: set[int]
) -> None:
    ours = evaluate_run(qrels, run, sorted(cutoffs))
    joined = ",".join(map(str, cutoffs))
    measures = {f"success.{joined}", f"recall.{joined},10", "ndcg_cut.10", "recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    for query, values in ours.items():
        reference = theirs.get(query) if run.get(query) else None
        for k in cutoffs:
            assert values[f"hit_rate@{k}"] == pytest.approx(reference[f"success_{k}"] if reference else 0, abs=1e-9)
            assert values[f"recall@{k}"] == pytest.approx(reference[f"recall_{k}"] if reference else 0, abs=1e-9)
        assert values["ndcg@10"] == pytest.approx(reference["ndcg_cut_10"] if reference else 0, abs=1e-9)
        whole = reference["recip_rank"] if reference else 0
        assert values["mrr@10"] == pytest.approx(whole if whole > 0.0999 else 0, abs=1e-9)


def by_query(values: list[float]) -> dict[str, dict[str, float]]:
    return {f"q{n}": {"ndcg@10": value} for n, value in enumerate(values)}


def test_the_p_value_is_that_of_all_changes_of_sign() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.uniform(0, 1, 9), rng.uniform(0.2, 1.2, 9)
    differences = b - a
    flipped = [abs(np.mean(differences * signs)) for signs in itertools.product((-1, 1), repeat=9)]
    exact = np.mean(np.array(flipped) >= abs(differences.mean()) - 1e-12)
    assert compare_runs(by_query(a.tolist()), by_query(b.tolist())).p_value == pytest.approx(exact, abs=1e-9)


def test_p_value_and_interval_are_near_the_t_tests_where_that_one_holds() -> None:
    rng = np.random.default_rng(6)
    a = rng.normal(0.5, 0.1, 400)
    b = a + rng.normal(0.01, 0.1, 400)
    ours, theirs = compare_runs(by_query(a.tolist()), by_query(b.tolist())), stats.ttest_rel(b, a)
    interval = theirs.confidence_interval(0.95)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=0.02)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.0015)
