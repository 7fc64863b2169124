"""A teacher that orders noise is found out without a label, and one that knows what it prefers is used."""

import asyncio
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from scripted_endpoint import ScriptedEndpoint

from distill.jsonl import Record
from distill.llm.asking import Asker
from distill.teacher.assessment import Answers, Assessment, assess, assess_teacher, choose_mode
from distill.teacher.modes import order_question, parse_mode
from distill.teacher.talk import Order
from distill.teacher.trust import mean_at_least, position_test

N = 10
Preference = Callable[[int, int, random.Random], float]  # (worth of a passage, its place in the prompt) → how liked


class Simulated:
    """A teacher that likes passages as a function says."""

    def __init__(self, preference: Preference, seed: int) -> None:
        self.preference = preference
        self.chance = random.Random(seed)  # noqa: S311

    async def ask(self, messages: Sequence[BaseMessage]) -> str:
        text = str(messages[1].content)
        found = re.findall(r"^\[(\d+)\] worth (\d+)", text, re.MULTILINE)
        liked = {number: self.preference(int(worth), int(number), self.chance) for number, worth in found}
        best_first = [f"[{number}]" for number in sorted(liked, key=lambda number: -liked[number])]
        return best_first[0] if "the one passage" in text else " > ".join(best_first)


def assessed(preference: Preference, mode: str = "listwise", n_questions: int = 20, seed: int = 0) -> Assessment:
    teacher, chance = Simulated(preference, seed), random.Random(seed)  # noqa: S311

    async def ask(question: int) -> Answers:
        worths = chance.sample(range(N), N)
        repeats = (0,) if mode == "pairwise" else (0, 1)
        orders = [
            await order_question(
                parse_mode(mode), teacher, "?", [f"worth {w}" for w in worths], key=f"{seed}:{question}", repeat=repeat
            )
            for repeat in repeats
        ]
        return Answers(n=N, orders=tuple(orders))

    return assess(mode, [asyncio.run(ask(question)) for question in range(n_questions)])


def like_a_strong_llm(worth: int, place: int, chance: random.Random) -> float:
    """Two such orders of ten agree at about τ 0.86, as those of gpt-3.5-turbo do."""
    return worth + chance.gauss(0, 0.75)


def at_random(worth: int, place: int, chance: random.Random) -> float:
    return chance.random()


def last_first(worth: int, place: int, chance: random.Random) -> float:
    """The passage shown last is put first about eight times in ten, as by a small model."""
    return place + chance.gauss(0, 0.7)


@pytest.mark.parametrize("mode", ["listwise", "listwise-3", "pairwise", "best-of"])
@pytest.mark.parametrize("seed", range(3))
def test_a_steady_teacher_is_used_in_every_mode(mode: str, seed: int) -> None:
    found = assessed(like_a_strong_llm, mode, seed=seed, n_questions=8 if mode == "pairwise" else 20)
    assert (found.trust, found.weight) == ("use", 1)
    assert found.self_agreement > 0.75
    assert found.position_bias < 0.5


@pytest.mark.parametrize("mode", ["listwise", "listwise-3", "best-of", "pairwise"])
@pytest.mark.parametrize("preference", [at_random, last_first])
@pytest.mark.parametrize("seed", range(2))
def test_noise_and_the_place_in_the_prompt_are_refused_in_every_mode(
    mode: str, preference: Preference, seed: int
) -> None:
    found = assessed(preference, mode, seed=seed, n_questions=8 if mode == "pairwise" else 20)
    assert (found.trust, found.weight) == ("refuse", 0)
    assert "stronger LLM" in found.sentence


def test_a_place_that_wins_four_times_in_five_is_named_as_the_reason() -> None:
    found = assessed(last_first)
    assert 0.6 < found.best_shown_at[-1] < 0.95
    assert found.position_p < 1e-6
    assert "place in the prompt decides" in found.sentence


def test_an_unsteady_teacher_counts_in_part() -> None:
    found = assessed(lambda worth, place, chance: worth + chance.gauss(0, 2.6))
    assert found.trust == "weigh"
    assert 0 < found.weight < 1


def test_a_teacher_that_only_repeats_the_retrieval_is_said_to_add_little() -> None:
    teacher = Simulated(lambda worth, place, chance: -worth + chance.gauss(0, 0.5), 1)

    async def ask(question: int) -> Answers:
        passages = [f"worth {place}" for place in range(N)]  # the retrieval's order is the order of worth
        orders = [
            await order_question(parse_mode("listwise"), teacher, "?", passages, key=str(question), repeat=repeat)
            for repeat in (0, 1)
        ]
        return Answers(n=N, orders=tuple(orders))

    found = assess("listwise", [asyncio.run(ask(question)) for question in range(20)])
    assert found.trust == "weigh"
    assert "adds little" in found.sentence


def test_a_sample_too_small_to_tell_is_refused_and_no_question_at_all_as_well() -> None:
    assert assessed(lambda worth, place, chance: worth + chance.gauss(0, 4), n_questions=1).trust == "refuse"
    order = Order(
        order=(0, 1),
        status="ok",
        shown=(0, 1),
        n_asked=1,
        reply="",
        passes=((0, 1),),
        agreement=None,
        best_at=((0, 2),),
    )
    steady = assess("listwise", [Answers(n=2, orders=(order, order))])
    assert (steady.trust, steady.self_agreement) == ("refuse", 1.0)
    assert "on so little" in steady.sentence and "give more questions" in steady.sentence
    nothing = assess("listwise", [])
    assert (nothing.trust, nothing.n_questions) == ("refuse", 0)


def test_it_comes_out_of_a_real_connection(llm: BaseChatModel, endpoint: ScriptedEndpoint) -> None:
    endpoint.reply = lambda messages: "I cannot rank."
    texts = {f"p{n}": f"worth {n}" for n in range(4)}
    records: list[Record] = [
        {"id": f"q{q}", "question": "?", "candidates": [{"passage": identifier} for identifier in texts]}
        for q in range(5)
    ]
    heard: list[tuple[int, int]] = []
    asker = Asker(llm)
    refused = assess_teacher(
        records, texts, asker, "listwise", seed=1, n_questions=3, on_progress=lambda *done: heard.append(done)
    )
    assert (refused.trust, refused.refused, refused.calls, refused.n_questions) == ("refuse", 1, 3, 3)
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]
    endpoint.reply = lambda messages: " > ".join(
        f"[{number}]"
        for number, _ in sorted(
            re.findall(r"\[(\d+)\] worth (\d)", str(messages[1]["content"])), key=lambda pair: pair[1]
        )
    )
    assert assess_teacher(records, texts, asker, "listwise", seed=1).self_agreement == 1


def test_the_mode_with_most_agreement_for_a_call_is_chosen_among_the_trusted() -> None:
    listwise = assessed(like_a_strong_llm)
    thrice = replace(listwise, mode="listwise-3", calls=3.0, self_agreement=0.9)
    unsteady = replace(listwise, trust="weigh", self_agreement=0.99)
    assert choose_mode([thrice, unsteady, listwise]) is listwise
    assert choose_mode([replace(listwise, trust="refuse"), thrice]) is thrice
    cheap, dear = replace(listwise, calls=2.0, self_agreement=0.8), replace(listwise, calls=2.004, self_agreement=0.8)
    assert choose_mode([dear, cheap]) is cheap
    assert choose_mode([assessed(at_random)]).trust == "refuse"


def test_equal_places_are_no_bias_and_one_place_is_all_of_it() -> None:
    assert position_test([(place % 5, 5) for place in range(50)]) == (pytest.approx(1), 0)
    p, bias = position_test([(2, 5)] * 30)
    assert (p < 1e-9, bias) == (True, pytest.approx(1))
    assert position_test([]) == (1, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(2, 12).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))), max_size=60))
def test_bias_and_its_p_are_shares(best_at: list[tuple[int, int]]) -> None:
    p, bias = position_test(best_at)
    assert 0 <= p <= 1
    assert 0 <= bias <= 1 + 1e-9


def test_more_questions_make_it_surer() -> None:
    few, many = mean_at_least([0.5] * 5, 10), mean_at_least([0.5] * 50, 10)
    assert few[0] == many[0] > many[1] > few[1]
