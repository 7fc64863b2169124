"""What is decided, why, and what each look at the same questions leaves."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.verdict.promotion import questions_needed
from distill.verdict.verdict import ALPHA, JudgedBy, Rows, Verdict, alpha_of, decide, fused, take_look, undecided
from indexes.evaluation import Judgement
from indexes.types import Query

Values = list[float]
TAUGHT = Rows(base="base", control="free", taught="new")


def judgement(**ndcg: Values) -> Judgement:
    """Retrievers with nDCG@10 by question; the fused ones are flat unless `fused_NAME` says otherwise."""
    flat = [0.5] * len(ndcg["base"])
    alone = {name: values for name, values in ndcg.items() if not name.startswith("fused_")}
    both = alone | {fused(name): ndcg.get(f"fused_{name}", flat) for name in alone}
    by_query = {
        name: {f"q{n}": {"ndcg@10": value, "mrr@10": value} for n, value in enumerate(values)}
        for name, values in both.items()
    }
    return Judgement(queries=[Query(id=f"q{n}", text="?") for n in range(len(flat))], by_query=by_query)


def verdict(
    found: Judgement, rows: Rows = TAUGHT, *, judged_by: JudgedBy = "questions", look: int = 1, trust: str = ""
) -> Verdict:
    return decide(found, rows, corpus="laws", whose="the LLM's orders", judged_by=judged_by, look=look, trust=trust)


def around(mean: float, spread: float, n: int) -> Values:
    """`n` values whose mean is exactly `mean`."""
    return [mean + spread * (-1) ** place for place in range(n)]


def test_the_sentence_says_whose_gain_it_is() -> None:
    n = 192
    found = verdict(judgement(base=[0.332] * n, free=[0.342] * n, new=around(0.382, 0.14, n)))
    assert (found.encoder, found.promoted, found.reason, found.advice) == ("new", True, "", ())
    assert re.fullmatch(
        r"nDCG@10 rose from 0\.332 to 0\.382 on 192 questions; 0\.010 of that needs no LLM, the LLM's orders account "
        r"for \+0\.040 \(\+0\.02\d to \+0\.0[56]\d\): the taught retriever is promoted\.",
        found.sentence,
    )
    gain = found.gain
    assert gain and gain.best_free == "free" and gain.low and gain.low > 0
    assert (gain.base, gain.free, gain.taught) == pytest.approx((0.332, 0.342, 0.382))
    assert (gain.needs_no_llm, gain.of_orders) == pytest.approx((0.010, 0.040))


def test_the_weight_of_rare_words_is_free_too() -> None:
    rows = replace(TAUGHT, weighted="weighted")
    values = {"base": [0.5] * 60, "weighted": [0.58] * 60, "free": [0.55] * 60, "new": around(0.6, 0.01, 60)}
    found = verdict(judgement(**values), rows)
    assert found.promoted and found.gain and found.gain.best_free == "weighted"
    assert "0.080 of that needs no LLM, the LLM's orders account for +0.020" in found.sentence


def test_what_is_to_be_had_for_free_is_promoted_in_place_of_what_was_paid_for() -> None:
    """0.12 above the base, but only 0.01 of it above the free control, by chance."""
    found = verdict(judgement(base=[0.5] * 60, free=[0.61] * 60, new=around(0.62, 0.2, 60)))
    assert (found.encoder, found.promoted, found.reason) == ("free", False, "chance")
    assert "the free control 'free' is promoted, and the taught one is not, as what it gains" in found.sentence
    assert "above 'free' (0.610) may be chance (p = 0." in found.sentence
    assert found.advice[-1].option == "python -m distill promote laws new"


def test_a_free_control_that_harms_is_noticed_and_all_of_the_gain_is_the_orders() -> None:
    found = verdict(judgement(base=[0.332] * 192, free=around(0.295, 0.1, 192), new=around(0.385, 0.1, 192)))
    assert found.encoder == "new"
    assert "nothing is to be gained without an LLM, the LLM's orders account for +0.053" in found.sentence
    assert any("does harm" in advice.sentence for advice in found.advice)


def test_where_teaching_falls_below_what_is_free_the_sentence_says_what_is_free() -> None:
    found = verdict(judgement(base=[0.5] * 60, free=around(0.51, 0.2, 60), new=[0.49] * 60))
    assert found.encoder == ""
    assert "fell from 0.500 to 0.490 on 60 questions; without an LLM it rises to 0.510" in found.sentence
    assert "the baseline stays, as 'free' finds as much or more (0.510)" in found.sentence
    assert not any("promote" in advice.option for advice in found.advice), "it is below the base"


def test_without_a_control_the_sentence_says_that_nobody_knows_what_is_free() -> None:
    found = verdict(judgement(base=[0.5] * 60, new=around(0.6, 0.1, 60)), Rows(base="base", taught="new"))
    assert found.promoted
    assert "what of that needs no LLM was not measured: the taught retriever is promoted" in found.sentence


def test_a_run_without_orders_has_the_base_to_beat_and_names_no_llm() -> None:
    rows = Rows(base="base", weighted="weighted", control="new")
    values = {"base": [0.5] * 60, "weighted": [0.52] * 60, "new": around(0.54, 0.05, 60)}
    found = verdict(judgement(**values), rows)
    assert (found.encoder, found.promoted) == ("new", True)
    assert "without an LLM; +0.020 of that is the weight of rare words alone" in found.sentence


def test_a_gain_that_may_be_chance_keeps_the_baseline_and_says_how_many_questions_would_show_it() -> None:
    found = verdict(judgement(base=[0.5] * 40, free=[0.5] * 40, new=around(0.52, 0.2, 40)))
    assert (found.encoder, found.reason) == ("", "chance")
    # ((2.1651 + 0.8416) · s / 0.02)² with s = 0.2 · √(40 / 39): p has to be below 0.0304
    assert "+0.020" in found.advice[0].sentence and "about 928 held-out questions" in found.advice[0].sentence


def test_so_many_questions_as_advised_show_the_same_difference() -> None:
    n = questions_needed(list(np.array(around(0.52, 0.2, 40)) - 0.5), alpha_of(1))
    assert verdict(judgement(base=[0.5] * n, free=[0.5] * n, new=around(0.52, 0.2, n))).promoted


@pytest.mark.parametrize("n", [1, 2, 29])
def test_fewer_than_thirty_questions_are_too_few_and_nothing_follows(n: int) -> None:
    found = verdict(judgement(base=[0.5] * n, free=[0.5] * n, new=[0.9] * n), trust="weigh")
    assert (found.encoder, found.reason, found.advice) == ("", "few", ())
    assert f"{n} question{'s are' if n > 1 else ' is'} too few to tell" in found.sentence
    assert "interval" not in found.sentence and " to +" not in found.sentence
    assert found.gain and (found.gain.low, found.gain.high, found.gain.p_value) == (None, None, None)


def test_thirty_questions_can_tell() -> None:
    assert verdict(judgement(base=[0.5] * 30, free=[0.5] * 30, new=around(0.9, 0.01, 30))).promoted


def test_no_gain_does_not_send_for_more_held_out_questions() -> None:
    found = verdict(judgement(base=[0.5] * 50, free=[0.4] * 50, new=[0.5] * 50), trust="refuse")
    assert found.reason == "worse"
    assert "would not change this" in found.advice[0].sentence
    assert any("stronger LLM" in advice.sentence for advice in found.advice)


@pytest.mark.parametrize(
    ("fused_new", "reason"),
    [
        (around(0.695, 0.01, 200), ""),  # −0.005, at worst −0.0064
        (around(0.695, 0.1, 200), "fused"),  # the same loss, but it may be as much as 0.019
        ([0.68] * 200, "fused"),
    ],
)
def test_the_fused_search_has_to_be_shown_to_lose_less_than_a_hundredth(fused_new: Values, reason: str) -> None:
    values = {"base": [0.5] * 200, "free": [0.5] * 200, "new": around(0.6, 0.1, 200), "fused_base": [0.7] * 200}
    found = verdict(judgement(**values, fused_free=[0.7] * 200, fused_new=fused_new))
    assert found.reason == reason and found.promoted == (not reason)
    assert ("may lose more than 0.01 (nDCG@10 0.700 → 0." in found.sentence) == bool(reason)


def test_what_the_llms_own_questions_judge_is_promoted_on_trial() -> None:
    found = verdict(
        judgement(base=[0.5] * 50, free=[0.5] * 50, new=around(0.6, 0.1, 50)), judged_by="written questions"
    )
    assert (found.encoder, found.on_trial, found.judged_by) == ("new", True, "written questions")
    assert "on 50 questions that the LLM wrote" in found.sentence
    assert "promoted, on trial until real questions or votes confirm it" in found.sentence
    assert "vote on the Compare tab" in found.advice[-1].sentence
    kept = verdict(judgement(base=[0.5] * 50, free=[0.5] * 50, new=[0.5] * 50), judged_by="written questions")
    assert not kept.on_trial, "what is not promoted is on no trial"


def test_the_teachers_own_word_is_named_as_that_and_promotes_nothing() -> None:
    """A teacher that sorts passages by their length is followed, too: its own orders would all say so."""
    found = verdict(judgement(base=[0.5] * 40, free=around(0.4, 0.1, 40), new=around(0.6, 0.1, 40)), judged_by="orders")
    assert (found.encoder, found.promoted, found.reason, found.judged_by) == ("", False, "unjudged", "orders")
    assert found.sentence.startswith("No held-out question says which documents answer it. By the teacher's own word")
    assert "MRR@10 rose from 0.500 to 0.600 on 40 questions whose orders trained nothing" in found.sentence
    assert "the baseline stays, as nobody has said yet whether its word is right" in found.sentence
    assert any("does harm" in advice.sentence for advice in found.advice), "it is noticed without a label"
    assert '"positives"' in found.advice[0].sentence
    assert found.advice[-1].option == "python -m distill promote laws new"


def test_where_nothing_judges_the_advice_says_what_to_give() -> None:
    found = undecided(replace(TAUGHT, standing="before"), "refuse")
    assert (found.encoder, found.judged_by, found.n_questions) == ("", "", 0)
    assert "nothing could be measured: 'before' stays promoted" in found.sentence
    assert '"positives"' in found.advice[0].sentence and "stronger LLM" in found.advice[1].sentence


def test_the_next_look_at_the_same_questions_has_to_be_surer() -> None:
    found = judgement(base=[0.5] * 40, free=[0.5] * 40, new=around(0.56, 0.15, 40))
    assert verdict(found).promoted
    kept = verdict(found, look=3)
    assert (kept.reason, kept.look) == ("looks", 3)
    assert "have judged 2 times before, so p < 0.0034 is asked for" in kept.sentence
    sure = judgement(base=[0.5] * 200, free=[0.5] * 200, new=around(0.6, 0.1, 200))
    assert verdict(sure, look=10).promoted


def test_a_better_retriever_that_is_promoted_already_is_not_displaced() -> None:
    rows = replace(TAUGHT, standing="before")
    values = {"base": [0.5] * 60, "free": [0.59] * 60, "new": around(0.6, 0.1, 60)}
    kept = verdict(judgement(**values, before=[0.62] * 60), rows)
    assert kept.encoder == ""
    assert "'before' stays promoted, as 'before' finds as much or more (0.620)" in kept.sentence
    assert verdict(judgement(**values, before=[0.55] * 60), rows).encoder == "free"
    chance = verdict(judgement(**values | {"free": [0.5] * 60}, before=[0.595] * 60), rows)
    assert (chance.encoder, chance.reason) == ("", "chance"), "what stands has to be beaten beyond doubt too"


def test_a_ranker_no_better_than_the_baseline_is_named_as_the_ceiling() -> None:
    rows = replace(TAUGHT, reranked="ranker")
    for mean, is_near in ((0.5, True), (0.45, True), (0.7, False)):
        values = {"base": [0.5] * 60, "free": [0.5] * 60, "new": [0.49] * 60, "ranker": around(mean, 0.05, 60)}
        said = " ".join(advice.sentence for advice in verdict(judgement(**values), rows).advice)
        assert ("Even the ranker" in said) == is_near


@settings(max_examples=8)
@given(
    st.integers(0, 10_000),
    st.integers(1, 60),
    st.sampled_from(("questions", "written questions", "orders")),
    st.integers(1, 3),
)
def test_no_retriever_below_the_baseline_or_below_what_stands_is_ever_promoted(
    seed: int, n: int, judged_by: JudgedBy, look: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = Rows(**{field.name: field.name for field in fields(Rows)})
    values = {field.name: list(rng.uniform(size=n)) for field in fields(Rows)}
    found = verdict(judgement(**values), rows, judged_by=judged_by, look=look)
    if found.encoder:
        assert np.mean(values[found.encoder]) > max(np.mean(values["base"]), np.mean(values["standing"]))
    assert found.promoted == (found.encoder == "taught")
    assert found.encoder or n < 30 or found.advice


def query(text: str, *positives: str) -> Query:
    return Query(id=text, text=text, positives=positives or ("d",), split="dev")


ASKED = [query("a"), query("b"), query("c")]


def test_the_levels_of_all_looks_together_never_pass_alpha() -> None:
    # 6 · 0.05 / π² = 0.030396…; a quarter of it at the second look, a ninth at the third.
    assert [round(alpha_of(look), 5) for look in (1, 2, 3)] == [0.0304, 0.0076, 0.00338]
    assert 0.99 * ALPHA < sum(map(alpha_of, range(1, 1000))) < ALPHA


def test_each_run_looks_once_and_the_next_one_after_it(tmp_path: Path) -> None:
    ledger = tmp_path / "data" / "looks.jsonl"
    assert [take_look(ledger, run, ASKED) for run in ("one", "two", "one", "three", "two")] == [1, 2, 1, 3, 2]


@pytest.mark.parametrize(
    ("earlier", "look"),
    [
        (ASKED, 2),
        ([query("a"), query("b"), query("z")], 2),
        ([query("a"), query("y"), query("z")], 1),
        ([query("a", "e"), query("b", "e"), query("c")], 1),  # others answer them: other questions
    ],
)
def test_a_look_counts_that_shared_half_of_the_questions(tmp_path: Path, earlier: list[Query], look: int) -> None:
    take_look(tmp_path / "looks.jsonl", "before", earlier)
    assert take_look(tmp_path / "looks.jsonl", "now", ASKED) == look


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '{"run": "x"}', "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")]
)
def test_a_look_that_nobody_can_read_any_more_counts(tmp_path: Path, damaged: str) -> None:
    ledger = tmp_path / "looks.jsonl"
    ledger.write_text(damaged, encoding="utf-8")  # and no end of the line: a kill tore it
    assert take_look(ledger, "now", ASKED) == 2
    assert take_look(ledger, "next", ASKED) == 3
    assert take_look(ledger, "now", ASKED) == 2
