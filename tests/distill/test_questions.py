"""Questions come from a file, from people or from the LLM, and one place decides which of them train."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.questions.sources import assign_splits, load_questions, read_like, read_log
from indexes.errors import InputError
from indexes.types import Query


def asked(*texts: str) -> list[Query]:
    return [Query(id=f"u{n}", text=text) for n, text in enumerate(texts)]


def test_a_file_with_splits_keeps_them_and_only_train_trains(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text("".join(f'{{"question": "q{n}?", "split": "{s}"}}\n' for n, s in enumerate(["train", "test", ""])))
    assert [query.split for query in load_questions(file, seed=1)] == ["train", "dev", "dev"]


def test_without_splits_a_fifth_is_held_out_by_seed() -> None:
    queries = [Query(id=str(n), text=f"q{n}?") for n in range(50)]
    splits = [query.split for query in assign_splits(queries, seed=1)]
    assert splits.count("dev") == 10
    assert splits == [query.split for query in assign_splits(queries, seed=1)]
    assert splits != [query.split for query in assign_splits(queries, seed=2)]


def test_a_file_without_training_questions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"question": "a?", "split": "dev"}\n')
    with pytest.raises(InputError, match="to train with"):
        load_questions(file, seed=1)


@given(
    about=st.lists(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=2), min_size=1, max_size=40),
    seed=st.integers(0, 99),
)
def test_no_passage_is_asked_about_on_both_sides(about: list[list[str]], seed: int) -> None:
    """A held-out question about a passage that trained would praise what was learned by heart."""
    queries = [Query(id=f"w{n}", text=f"question {n}?") for n in range(len(about))]
    sources = {query.id: passages for query, passages in zip(queries, about, strict=True)}
    split = assign_splits(queries, seed=seed, about=sources)
    train, dev = ({p for q in split if q.split == side for p in sources[q.id]} for side in ("train", "dev"))
    assert not train & dev
    assert [query.id for query in split] == [query.id for query in queries]
    assert sum(query.split == "dev" for query in split) <= round(0.2 * len(queries))


def test_equal_questions_stand_on_the_same_side() -> None:
    queries = [Query(id=str(n), text=f"Question {n // 2}{'?' * (n % 2)}") for n in range(60)]
    split = [query.split for query in assign_splits(queries, seed=4)]
    assert split[::2] == split[1::2]
    assert set(split) == {"train", "dev"}


def test_live_questions_train_unless_they_repeat_another() -> None:
    given_ones = [Query(id="a", text="Kept apart?", split="dev"), Query(id="b", text="Trained?", split="train")]
    split = assign_splits(given_ones, seed=1, asked=asked("kept APART", "Asked by people?", "trained"))
    assert [(query.text, query.split) for query in split[2:]] == [("Asked by people?", "train")]


def test_live_questions_alone_are_enough() -> None:
    assert [query.split for query in assign_splits([], seed=1, asked=asked("One?", "Two?"))] == ["train", "train"]


def test_a_log_gives_each_question_once_the_commonest_first(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    lines = ["Why?", "How  so?", "how so", "Where?", "HOW SO?"]
    file.write_text("".join(json.dumps({"question": q, "time": 1}) + "\n" for q in lines) + '{"question": "half')
    assert [query.text for query in read_log(file)] == ["How so?", "Why?", "Where?"]


def test_a_broken_line_of_a_log_is_named(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text('{"question": "Why?"}\n{"asked": 1}\n')
    with pytest.raises(InputError, match="Line 2"):
        read_log(file)


@pytest.mark.parametrize("as_records", [True, False])
def test_real_questions_to_write_like_are_read_from_lines_or_records(tmp_path: Path, as_records: bool) -> None:
    file = tmp_path / "like.txt"
    lines = ["Why do cats purr?", "Where do they sleep?", "", "Why do cats purr?", "Who feeds them?"]
    file.write_text("".join((json.dumps({"question": q}) if as_records and q else q) + "\n" for q in lines))
    assert read_like(file, seed=1) == ["Why do cats purr?", "Where do they sleep?", "Who feeds them?"]


def test_too_few_real_questions_are_refused_and_of_many_some_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "like.txt"
    file.write_text("Why?\nHow?\n")
    with pytest.raises(InputError, match="3 to 20"):
        read_like(file, seed=1)
    file.write_text("".join(f"Question {n}?\n" for n in range(100)))
    assert len(read_like(file, seed=1)) == 20
    assert read_like(file, seed=1) == read_like(file, seed=1) != read_like(file, seed=2)


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is none"):
        read_like(tmp_path / "none.txt", seed=1)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match="UTF-8"):
        read_log(tmp_path / "binary")
