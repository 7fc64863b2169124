"""An encoder is promoted only for what held-out questions show, and a kept baseline comes with what would help."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.verdict.advice import questions_needed
from distill.verdict.verdict import Verdict, decide, differences
from indexes.judging import Judgement

Values = list[float]


def judgement(**ndcg: Values) -> Judgement:
    """Retrievers base, new, fused_base, fused_new with nDCG@10 by question; the fused ones are flat unless given."""
    flat = [0.5] * len(ndcg["base"])
    by_name = {"fused_base": flat, "fused_new": flat} | ndcg
    by_query = {
        name: {f"q{n}": {"ndcg@10": value} for n, value in enumerate(values)} for name, values in by_name.items()
    }
    return Judgement(n_queries=len(flat), metrics={}, by_query=by_query, comparisons=())


def verdict(
    found: Judgement,
    origin: str = "given in a file",
    trust: str = "",
    reranked: str = "",
    standing: str = "",
    n_earlier: int = 0,
) -> Verdict:
    return decide(
        found,
        baseline="base",
        distilled="new",
        fused_baseline="fused_base",
        fused_distilled="fused_new",
        origin=origin,
        trust=trust,
        reranked=reranked,
        standing=standing,
        n_earlier=n_earlier,
    )


def around(mean: float, spread: float, n: int) -> Values:
    """`n` values whose mean is exactly `mean`."""
    return [mean + spread * (-1) ** place for place in range(n)]


def test_a_clear_gain_is_promoted_and_said_in_one_sentence() -> None:
    found = verdict(judgement(base=[0.56] * 200, new=around(0.64, 0.14, 200)))
    assert found.promoted
    assert found.n_questions == 200
    assert not found.advice
    assert re.fullmatch(
        r"On 200 questions it never saw, nDCG@10 rose from 0\.560 to 0\.640 \(95 % interval \+0\.06\d to "
        r"\+0\.(09|10)\d\): the taught retriever is promoted\.",
        found.sentence,
    )


def test_a_gain_that_may_be_chance_keeps_the_baseline_and_says_how_many_questions_would_show_it() -> None:
    found = verdict(judgement(base=[0.5] * 40, new=around(0.52, 0.2, 40)))
    assert not found.promoted
    assert "the baseline stays" in found.sentence and "chance" in found.sentence
    # ((1.96 + 0.84) · s / 0.02)² with s = 0.2 · √(40 / 39)
    assert "+0.020" in found.advice[0] and "about 805 held-out questions" in found.advice[0]


def test_so_many_questions_as_advised_show_the_same_difference() -> None:
    few = judgement(base=[0.5] * 40, new=around(0.52, 0.2, 40))
    n = questions_needed(differences(few, "base", "new"))
    assert verdict(judgement(base=[0.5] * n, new=around(0.52, 0.2, n))).promoted


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_questions_that_all_gain_promotes_nothing(n: int) -> None:
    """Every bootstrap sample of all-positive differences is positive, so the interval alone would promote on one."""
    found = verdict(judgement(base=[0.5] * n, new=[0.9] * n))
    assert not found.promoted
    assert "too few" in found.sentence
    assert f"{n} question{'s' * (n > 1)}" in found.sentence


@pytest.mark.parametrize("mean", [0.5, 0.4])
def test_no_gain_keeps_the_baseline_and_does_not_send_for_more_held_out_questions(mean: float) -> None:
    found = verdict(judgement(base=[0.5] * 50, new=[mean] * 50), trust="refuse")
    assert not found.promoted
    assert "would not change this" in found.advice[0]
    assert any("stronger LLM" in advice for advice in found.advice)


def test_a_gain_alone_that_harms_the_fused_search_is_not_promoted() -> None:
    found = judgement(base=[0.5] * 50, new=[0.6] * 50, fused_base=[0.7] * 50, fused_new=around(0.6, 0.01, 50))
    assert not verdict(found).promoted
    assert "fused baseline (nDCG@10 0.700 → 0.600" in verdict(found).sentence


def test_a_fused_loss_that_may_be_chance_does_not_stand_in_the_way() -> None:
    found = judgement(base=[0.5] * 50, new=[0.6] * 50, fused_base=[0.7] * 50, fused_new=around(0.69, 0.2, 50))
    assert verdict(found).promoted


def test_questions_that_the_llm_wrote_are_named_as_that() -> None:
    found = verdict(judgement(base=[0.5] * 50, new=[0.6] * 50), origin="written by qwen-1.5b")
    assert found.promoted
    assert "50 questions that the LLM wrote" in found.sentence
    assert "real ones" in found.advice[-1]


def test_a_small_gain_on_questions_that_the_llm_wrote_is_not_enough() -> None:
    """They resemble those that trained: most of what is gained on them may be gone on those that people ask."""
    found = judgement(base=[0.5] * 200, new=around(0.52, 0.1, 200))
    assert verdict(found).promoted
    kept = verdict(found, origin="written by qwen-1.5b")
    assert not kept.promoted
    assert "interval has to lie above +0.02" in kept.sentence
    assert any("--like" in advice for advice in kept.advice)


def test_the_best_of_several_runs_on_the_same_questions_has_to_be_surer() -> None:
    found = judgement(base=[0.5] * 40, new=around(0.56, 0.15, 40))
    assert verdict(found).promoted
    kept = verdict(found, n_earlier=9)
    assert not kept.promoted
    assert "9 other runs" in kept.sentence and "p < 0.0050" in kept.sentence
    assert verdict(judgement(base=[0.5] * 200, new=around(0.6, 0.1, 200)), n_earlier=40).promoted


def test_a_better_retriever_that_is_promoted_already_is_not_displaced() -> None:
    values = {"base": [0.5] * 60, "new": around(0.6, 0.1, 60)}
    kept = verdict(judgement(**values, before=[0.62] * 60), standing="before")
    assert not kept.promoted
    assert "'before' stays promoted, as it finds as much or more (nDCG@10 0.620 against 0.600)" in kept.sentence
    assert verdict(judgement(**values, before=[0.58] * 60), standing="before").promoted
    assert verdict(judgement(**values), standing="new").promoted, "a resumed run does not outdo itself"


def test_where_nothing_is_gained_what_is_promoted_stays() -> None:
    found = judgement(base=[0.5] * 60, new=[0.4] * 60, before=[0.55] * 60)
    assert "'before' stays promoted, as teaching has not made it better" in verdict(found, standing="before").sentence


@pytest.mark.parametrize(("reranked", "is_near"), [(0.5, True), (0.45, True), (0.7, False)])
def test_a_ranker_no_better_than_the_baseline_is_named_as_the_ceiling(reranked: float, is_near: bool) -> None:
    found = judgement(base=[0.5] * 60, new=[0.49] * 60, ranker=around(reranked, 0.05, 60))
    assert any("ceiling" in advice for advice in verdict(found, reranked="ranker").advice) == is_near


def test_without_judged_questions_the_baseline_stays_and_the_advice_says_what_to_give() -> None:
    found = verdict(Judgement(n_queries=0, metrics={}, by_query={}, comparisons=()), trust="weigh")
    assert not found.promoted
    assert "nothing could be measured" in found.sentence
    assert '"positives"' in found.advice[0]


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 60),
    st.sampled_from(["", "use", "weigh", "refuse"]),
    st.sampled_from(["given in a file", "written by an LLM"]),
    st.integers(0, 3),
)
def test_no_retriever_below_the_baseline_is_ever_promoted(
    seed: int, n: int, trust: str, origin: str, n_earlier: int
) -> None:
    rng = np.random.default_rng(seed)
    names = ("base", "new", "fused_base", "fused_new", "before", "ranker")
    values = {name: list(rng.uniform(size=n)) for name in names}
    found = verdict(judgement(**values), origin, trust, "ranker", "before", n_earlier)
    assert not (found.promoted and np.mean(values["new"]) <= np.mean(values["base"]))
    assert found.promoted or found.advice
