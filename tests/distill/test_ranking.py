"""The teacher's order is taken as it was said, resumed where it stopped, and its failures are counted."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.language_models import BaseChatModel
from scripted_endpoint import Message, ScriptedEndpoint

from distill.json_files import read_records
from distill.llm.calls import Asker
from distill.records import CandidateList, Ranking, Retrieved
from distill.teacher.ranking import agreement_weight, place_positives, rank_candidates, status_shares
from indexes.errors import LLMRefusedError

N = 5
TEXTS = {f"p{n}": f"passage worth {n}" for n in range(N)}


@pytest.fixture
def asker(llm: BaseChatModel) -> Asker:
    return Asker(llm)


def candidates(n_questions: int) -> list[CandidateList]:
    shown = [Retrieved(passage=identifier) for identifier in TEXTS]
    return [CandidateList(id=f"q{n}", question=f"question {n}?", candidates=tuple(shown)) for n in range(n_questions)]


def by_worth(messages: list[Message]) -> str:
    """An LLM that ranks by the number in each passage, highest first."""
    found = re.findall(r"\[(\d+)\] passage worth (\d+)", str(messages[1]["content"]))
    return " > ".join(f"[{number}]" for number, worth in sorted(found, key=lambda pair: -int(pair[1])))


def rank(
    asker: Asker, file: Path, n_questions: int = 6, seed: int = 1, mode: str = "listwise", weight: float = 1.0
) -> list[Ranking]:
    return rank_candidates(
        candidates(n_questions),
        TEXTS,
        asker,
        file,
        mode=mode,
        seed=seed,
        on_progress=lambda done, total: None,
        weight=weight,
    )


def test_the_order_is_the_llms_whatever_the_order_shown(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = by_worth
    rankings = rank(asker, tmp_path / "rankings.jsonl")
    assert len(rankings) == 6
    assert all(record.ranking == ("p4", "p3", "p2", "p1", "p0") for record in rankings)
    assert len({tuple(record.shown) for record in rankings}) > 1
    assert status_shares(rankings)["ok"] == 1


def test_a_run_that_broke_goes_on_after_what_it_has(asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.reply = by_worth
    file = tmp_path / "rankings.jsonl"
    rank(asker, file, n_questions=3)
    first_lines = file.read_bytes()
    n_before = len(endpoint.requests)
    rankings = rank(asker, file, n_questions=5)
    assert len(endpoint.requests) == n_before + 2
    assert file.read_bytes().startswith(first_lines)
    assert sorted(record.id for record in rankings) == ["q0", "q1", "q2", "q3", "q4"]


def test_what_was_ranked_before_a_failure_is_kept(asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    calls = 0

    def fail_at_third(messages: list[Message]) -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            endpoint.fail(401, times=1)
        return by_worth(messages)

    endpoint.reply = fail_at_third
    with pytest.raises(LLMRefusedError, match="API key") as raised:
        rank(asker, tmp_path / "rankings.jsonl")
    assert "sk-test" not in str(raised.value)
    assert len(read_records(tmp_path / "rankings.jsonl", Ranking)) == 2


def test_a_refusal_is_asked_again_twice_and_never_filled_in(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = lambda messages: "I cannot rank these 5 passages."
    (record,) = rank(asker, tmp_path / "rankings.jsonl", n_questions=1)
    assert (record.status, record.ranking, record.n_asked) == ("refused", (), 3)
    assert len(endpoint.requests) == 3


def test_a_reminder_can_bring_an_order(asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda messages: by_worth(messages) if len(messages) > 2 else "Sure!"
    (record,) = rank(asker, tmp_path / "rankings.jsonl", n_questions=1)
    assert (record.status, record.n_asked) == ("ok", 2)


def test_a_partial_order_stays_partial(asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda messages: " > ".join(by_worth(messages).split(" > ")[:2])
    (record,) = rank(asker, tmp_path / "rankings.jsonl", n_questions=1)
    assert (record.status, record.ranking) == ("partial", ("p4", "p3"))


def test_the_seed_decides_what_is_shown(
    connect: Callable[[], BaseChatModel], endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = by_worth
    shown = [
        [record.shown for record in rank(Asker(connect()), tmp_path / f"{n}.jsonl", seed=seed)]
        for n, seed in enumerate((1, 1, 2))
    ]
    assert shown[0] == shown[1] != shown[2]


def test_a_list_counts_by_the_agreement_of_its_shuffles_or_by_what_the_teacher_is_worth(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = by_worth
    (once,) = rank(asker, tmp_path / "once.jsonl", n_questions=1, weight=0.3)
    assert once.weight == 0.3
    (agreeing,) = rank(asker, tmp_path / "more.jsonl", n_questions=1, mode="listwise-3", weight=0.3)
    assert (agreeing.weight, agreeing.n_asked) == (1, 3)
    endpoint.reply = lambda messages: "[5] > [4] > [3] > [2] > [1]"
    by_place = rank(asker, tmp_path / "place.jsonl", mode="listwise-3")
    assert sum(record.weight for record in by_place) / len(by_place) < 0.25


def test_weights_rise_with_agreement_on_the_first_place_from_chance_to_full() -> None:
    assert [agreement_weight(share, 5) for share in (0, 0.2, 0.6, 1)] == [0, 0, 0.5, 1]


def test_a_list_with_a_steady_top_counts_in_full_whatever_its_tail(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    def best_then_as_shown(messages: list[Message]) -> str:
        best, *_ = by_worth(messages).split(" > ")
        return " > ".join(dict.fromkeys([best, *(f"[{place}]" for place in range(1, N + 1))]))

    endpoint.reply = best_then_as_shown
    records = rank(asker, tmp_path / "r.jsonl", mode="listwise-3")
    assert {record.weight for record in records} == {1}
    assert len({record.ranking for record in records}) > 1


def test_a_candidate_that_stands_twice_is_shown_once_and_one_alone_is_not_asked_about(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = by_worth
    twice = CandidateList(id="twice", question="?", candidates=tuple(Retrieved(passage=p) for p in ("p1", "p2", "p1")))
    alone = CandidateList(id="alone", question="?", candidates=(Retrieved(passage="p1"), Retrieved(passage="p1")))
    found = rank_candidates(
        [twice, alone], TEXTS, asker, tmp_path / "r.jsonl", seed=1, on_progress=lambda done, total: None
    )
    assert [(record.id, record.ranking) for record in found] == [("twice", ("p2", "p1"))]
    assert sorted(found[0].shown) == ["p1", "p2"]


def test_known_positives_go_first_if_they_were_shown() -> None:
    record = Ranking(id="q", shown=("a", "b", "c", "d"), ranking=("b", "c", "a"), weight=0.5)
    assert place_positives(record, {"a", "d", "x"}).ranking == ("a", "d", "b", "c")
    assert place_positives(record, {"x"}) == record


def test_of_a_list_that_counts_for_nothing_the_known_positives_remain() -> None:
    record = Ranking(id="q", shown=("a", "b", "c"), ranking=("b", "c", "a"), weight=0.0)
    placed = place_positives(record, {"a"})
    assert (placed.ranking, placed.weight) == (("a",), 1.0)
    assert place_positives(record, {"x"}).weight == 0
