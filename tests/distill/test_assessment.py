"""A teacher that is noise, upside down or the retrieval over again is found out without a label; a good one is used."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from scripted_endpoint import ScriptedEndpoint
from simulated_teachers import TEACHERS, Preference, Shown, Simulation, lists

from distill.llm.calls import Asker
from distill.records import Assessment, CandidateList, Ranking, Retrieved
from distill.teacher.assessment import assess, assess_teacher
from distill.teacher.trust import (
    Probe,
    Probed,
    first_reliability,
    is_copy,
    judge_given,
    kappa,
    known_answers,
    make_probes,
    position_test,
    share_at_least,
)
from indexes.types import Passage

PLANTS = [
    Probe(id=f"x{n}", question="about 0", passages=tuple(f"worth {p}" for p in range(4)), plant=0) for n in range(3)
]


def assessed(preference: Preference, mode: str = "listwise", n_questions: int = 20, seed: int = 0) -> Assessment:
    return Simulation(preference).assessed(seed, mode, n_questions)


@pytest.mark.parametrize("mode", ["listwise", "listwise-3"])
def test_a_good_teacher_is_used_in_every_mode(mode: str) -> None:
    simulation = Simulation(lambda passage, chance: passage.worth + chance.gauss(0, 0.4))
    for seed in range(2):
        found = simulation.assessed(seed, mode)
        assert (found.trust, found.verdict_kind, found.weight) == ("use", "sound", 1)
        assert found.kappa > 0.4
        assert found.probe_first == pytest.approx(1, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["listwise", "listwise-3"])
@pytest.mark.parametrize("teacher", ["random", "last in the prompt, mostly"])
def test_noise_and_the_place_in_the_prompt_are_refused_in_every_mode(mode: str, teacher: str) -> None:
    simulation = Simulation(TEACHERS[teacher])
    for seed in range(2):
        found = simulation.assessed(seed, mode)
        assert (found.trust, found.weight) == ("refuse", 0)
        assert "stronger LLM" in found.sentence


@pytest.mark.parametrize(
    ("teacher", "trust", "kind"),
    [
        ("perfect", "use", "sound"),
        ("steady top, arbitrary tail", "use", "sound"),
        ("like gpt-3.5-turbo (τ 0.86)", "use", "sound"),
        ("right top, the retrieval's tail", "use", "sound"),
        ("by length", "refuse", "blind"),
        ("reversed", "refuse", "reversed"),
        ("reversed, noisy", "refuse", "reversed"),
        ("copies the retrieval", "refuse", "copying"),
        ("copies the retrieval, noisy", "refuse", "copying"),
        ("first in the prompt", "refuse", "placed"),
    ],
)
def test_each_kind_of_teacher_is_known_for_what_it_is(teacher: str, trust: str, kind: str) -> None:
    simulation = Simulation(TEACHERS[teacher])
    for seed in range(4):
        found = simulation.assessed(seed)
        assert (found.trust, found.verdict_kind) == (trust, kind), found.sentence


def test_a_reversed_and_a_copying_teacher_are_said_to_be_that_with_what_to_do() -> None:
    backwards = assessed(TEACHERS["reversed"])
    assert "planted answer last (20 of 20 times)" in backwards.sentence
    assert "wrong way round" in backwards.sentence and "another LLM" in backwards.sentence
    assert backwards.probe_first == 0
    copy = assessed(TEACHERS["copies the retrieval"])
    assert "worth nothing beside it" in copy.sentence and "--teacher none" in copy.sentence


def test_an_unsteady_teacher_counts_in_part() -> None:
    simulation = Simulation(TEACHERS["unsteady"])
    found = [simulation.assessed(seed) for seed in range(4)]
    assert [(each.trust, each.verdict_kind) for each in found] == [("weigh", "unsteady")] * 4
    assert all(0 < each.weight < 1 for each in found)


def test_a_teacher_that_misses_plants_counts_in_part_however_steady() -> None:
    """Half of the questions are beyond it; those it always answers in the same wrong way."""
    simulation = Simulation(lambda p, chance: p.worth if p.asked % 2 else p.length)
    found = simulation.assessed(3)
    assert (found.trust, found.verdict_kind) == ("weigh", "unsteady")
    assert "misses many" in found.sentence
    assert found.weight == found.probe_first


def test_what_is_known_of_the_first_place_goes_down_with_every_sign_against_it() -> None:
    sound, blind = assessed(TEACHERS["perfect"]), assessed(TEACHERS["by length"])
    assert 0.9 < sound.top1 < 1 and sound.top1_weight == 10
    assert blind.top1 < 0.3
    assert assessed(TEACHERS["reversed"]).top1 < 0.05
    none = Probed(n=0, n_first=0, n_last=0, chance=1.0)
    assert first_reliability(0.0, 10, 20, none) == (pytest.approx(0.1), 10)
    assert first_reliability(0.64, 2, 20, none)[0] == pytest.approx((0.9 * 20 + 0.5) / 21)


def test_a_sample_too_small_to_tell_is_refused_and_no_question_at_all_as_well() -> None:
    few = Simulation(TEACHERS["perfect"]).assessed(n_questions=0)
    assert (few.trust, few.n_questions, few.n_probes) == ("refuse", 0, 0)

    def twice(question: int) -> CandidateList:
        return CandidateList(
            id=f"q{question}", question="about 0", candidates=tuple(Retrieved(passage=p) for p in ("a", "b"))
        )

    texts = {"a": "about 0 worth 1 start 0 length 5", "b": "about 0 worth 2 start 1 length 5"}
    asker = Simulation(TEACHERS["perfect"]).asker
    found = assess_teacher([twice(0)], texts, asker, "listwise", [], seed=1)
    assert (found.trust, found.verdict_kind, found.kappa) == ("refuse", "too few", 1)
    assert "on so little" in found.sentence and "give more questions" in found.sentence
    unproven = assess_teacher([twice(n) for n in range(12)], texts, asker, "listwise", [], seed=1)
    assert (unproven.trust, unproven.verdict_kind) == ("weigh", "unproven")
    assert assess("listwise", [], []).trust == "refuse"


def test_it_comes_out_of_a_real_connection(llm: BaseChatModel, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply = lambda messages: "I cannot rank."
    texts = {f"p{n}": f"worth {n}" for n in range(4)}
    records: list[CandidateList] = [
        CandidateList(id=f"q{q}", question="?", candidates=tuple(Retrieved(passage=identifier) for identifier in texts))
        for q in range(5)
    ]
    heard: list[tuple[int, int]] = []
    asker = Asker(llm)
    refused = assess_teacher(
        records, texts, asker, "listwise", PLANTS, seed=1, n_questions=3, on_progress=lambda *done: heard.append(done)
    )
    assert (refused.trust, refused.refused, refused.calls, refused.n_questions) == ("refuse", 1, 3, 3)
    assert heard == [(done, 9) for done in range(10)]
    endpoint.reply = lambda messages: " > ".join(
        f"[{number}]"
        for number, _ in sorted(
            re.findall(r"\[(\d+)\] worth (\d)", str(messages[1]["content"])), key=lambda pair: pair[1]
        )
    )
    found = assess_teacher(records, texts, asker, "listwise", PLANTS, seed=1)
    assert (found.self_agreement, found.kappa, found.probe_first) == (1, 1, 1)


def corpus(n: int = 40) -> list[Passage]:
    texts = [f"Here is what the entry number {i} is about, in words. {'More of it. ' * (i % 7)}" for i in range(n)]
    return [
        Passage(id=f"p{i}", document_id=f"d{i // 2}", source="s", text=t, title=f"t{i}") for i, t in enumerate(texts)
    ]


RECORDS: list[CandidateList] = [CandidateList(id=f"q{n}", question=f"question {n}?", candidates=()) for n in range(5)]


def test_a_probe_plants_what_is_known_to_answer_and_else_a_passage_that_its_own_sentence_asks_for() -> None:
    passages = corpus()
    known = {"q1": ["p3"], "q2": ["p8", "p9"], "q3": ["gone"]}
    probes = make_probes(RECORDS, passages, known, seed=1)
    assert len(probes) == len({probe.id for probe in probes}) == 20
    assert all(len(set(probe.passages)) == 10 for probe in probes)
    planted = {probe.question: probe.passages[probe.plant] for probe in probes}
    assert planted["question 1?"] == passages[3].full_text
    assert planted["question 2?"] in (passages[8].full_text, passages[9].full_text)
    both = next(probe for probe in probes if probe.id == "q2").passages
    assert len({passages[8].full_text, passages[9].full_text} & set(both)) == 1, "two that answer stood side by side"
    assert "question 3?" not in planted
    assert all(question in text for question, text in planted.items() if not question.startswith("question"))
    assert len({probe.plant for probe in probes}) > 3
    assert make_probes(RECORDS, passages, known, seed=1) == probes != make_probes(RECORDS, passages, known, seed=2)


def test_the_length_of_a_plant_tells_nothing() -> None:
    """Written questions are of long passages, and a teacher that likes long ones would pass."""
    passages = corpus(70)
    longest = [p.id for p in passages if int(p.id[1:]) % 7 == 5]
    records: list[CandidateList] = [CandidateList(id=p, question=f"{p}?", candidates=()) for p in longest]
    probes = make_probes(records, passages, {p: [p] for p in longest}, seed=3, n_probes=len(longest))
    assert len(probes) == 10
    is_longest = [max(map(len, probe.passages)) == len(probe.passages[probe.plant]) for probe in probes]
    assert sum(is_longest) <= 6


def test_a_corpus_of_one_passage_plants_nothing_and_one_of_three_plants_three() -> None:
    assert make_probes(RECORDS, corpus(1) * 3, {}, seed=1) == []
    assert [len(probe.passages) for probe in make_probes(RECORDS, corpus(3), {}, seed=1)] == [3, 3, 3]


def test_a_document_answers_only_where_it_is_one_passage_and_what_a_question_was_written_from_decides() -> None:
    passages = [*corpus(4), Passage(id="alone", document_id="d9", source="s", text="x")]
    positives = {"a": ["d0"], "b": ["d9"], "c": ["p2"], "d": ["d9"], "e": []}
    assert known_answers(positives, {"d": ["p0", "p1"]}, passages) == {
        "a": [],
        "b": ["alone"],
        "c": ["p2"],
        "d": ["p0", "p1"],
        "e": [],
    }


def test_plants_found_by_chance_pass_no_probe_and_few_cannot_tell() -> None:
    def probed(n_first: int, n_last: int = 0, n: int = 20, chance: float = 0.1) -> Probed:
        return Probed(n=n, n_first=n_first, n_last=n_last, chance=chance)

    assert not probed(6).is_passed and probed(7).is_passed
    assert probed(1, 8).is_reversed and not probed(1, 6).is_reversed and not probed(10, 8).is_reversed
    assert probed(2, n=2).can_tell is False and probed(0).can_tell
    assert Probed.of([]).can_tell is False


def test_a_copy_with_noise_agrees_better_with_the_retrieval_than_with_itself() -> None:
    assert is_copy(0.79, 0.87, 0.58, 0.73, 0.4)
    assert is_copy(1.0, 1.0, 1.0, 1.0, 0.8)
    assert not is_copy(0.86, 0.54, 0.72, 0.35, 0.1)
    assert not is_copy(1.0, 0.93, 1.0, 0.36, 0.2), "a right top over the retrieval's tail is worth something"
    assert not is_copy(0.1, 0.15, 0.1, 0.1, 0.0)
    assert is_copy(0.2, 0.2, 1.0, 1.0, 0.88), "what is always first is the retrieval's"


@given(st.integers(0, 40), st.integers(1, 40))
def test_a_share_is_at_least_less_than_it_is_and_nearer_with_more(n_hits: int, n: int) -> None:
    n_hits = min(n_hits, n)
    low = share_at_least(n_hits, n)
    assert 0 <= low <= n_hits / n
    assert share_at_least(10 * n_hits, 10 * n) >= low
    assert kappa(1.0, 1 / n if n > 1 else 0.5) == 1
    assert share_at_least(0, 0) == 0


def test_equal_places_are_no_bias_and_one_place_is_all_of_it() -> None:
    assert position_test([(place % 5, 5) for place in range(50)]) == (pytest.approx(1), 0)
    p, bias = position_test([(2, 5)] * 30)
    assert (p < 1e-9, bias) == (True, pytest.approx(1))
    assert position_test([]) == (1, 0)


@settings(max_examples=60)
@given(st.lists(st.integers(2, 12).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))), max_size=60))
def test_bias_and_its_p_are_shares(best_at: list[tuple[int, int]]) -> None:
    p, bias = position_test(best_at)
    assert 0 <= p <= 1
    assert 0 <= bias <= 1 + 1e-9


@pytest.mark.parametrize(
    ("teacher", "n", "kind"),
    [
        ("perfect", 120, ""),
        ("like gpt-3.5-turbo (τ 0.86)", 120, ""),
        ("unsteady", 120, ""),
        ("right top, the retrieval's tail", 120, ""),
        ("reversed", 120, "reversed"),
        ("reversed, noisy", 120, "reversed"),
        ("random", 120, "chance"),
        ("copies the retrieval", 120, "copying"),
        ("reversed", 99, ""),
    ],
)
def test_orders_whose_teacher_cannot_be_asked_are_held_against_the_retrieval(teacher: str, n: int, kind: str) -> None:
    """Simulated."""
    chance, (records, corpus) = random.Random(5), lists(n, seed=5)  # noqa: S311
    shown = {passage.id: seen(passage.text) for passage in corpus}
    rankings = []
    for record in records:
        likes = {passage: TEACHERS[teacher](shown[passage], chance) for passage in record.passages}
        order = tuple(sorted(likes, key=lambda passage: -likes[passage]))
        rankings.append(Ranking(id=record.id, ranking=order, shown=tuple(record.passages)))
    found = judge_given(records, rankings)
    assert found[:2] == (("refuse", kind) if kind else ("", "")), found
    assert found[2].startswith(f"The {n} orders should not teach: ") if kind else not found[2]


def seen(text: str) -> Shown:
    asked, worth, start, length = map(int, re.findall(r"\d+", text))
    return Shown(asked=asked, worth=worth, start=start, length=length, place=start + 1)
