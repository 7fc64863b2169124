"""Questions that are read: their forms, what is of no use, where they come from, and what they are split by."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.questions.reading import (
    KnownQuestions,
    assign_splits,
    form_of,
    key_of,
    n_words,
    passages_to_ask_about,
    question_in,
    read_like,
    read_log,
    style_of,
    why_useless,
)
from indexes.errors import InputError
from indexes.queries import read_queries
from indexes.types import Passage, Query


def asked(*texts: str) -> list[Query]:
    return [Query(id=f"u{n}", text=text) for n, text in enumerate(texts)]


def test_a_file_with_splits_keeps_them_and_only_train_trains(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text("".join(f'{{"question": "q{n}?", "split": "{s}"}}\n' for n, s in enumerate(["train", "test", ""])))
    assert [query.split for query in assign_splits(read_queries(file), seed=1)] == ["train", "dev", "dev"]


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
        assign_splits(read_queries(file), seed=1)


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


ANY = form_of("question", [])


@pytest.mark.parametrize(
    "reply",
    [
        "Why do cats purr?",
        'Question: "Why do cats purr?"',
        "<think>hm</think>\n1. Why do cats purr?\n\nNote: a good one.",
        "**Question:** Why do cats purr?",
        "Here is a question:\n\nWhy do cats purr?",
        "Why do cats purr?\n\nThe passage explains that they are content.",
        "「Why do cats purr?」",
    ],
)
def test_labels_thinking_and_quotes_are_taken_off(reply: str) -> None:
    assert question_in(reply) == "Why do cats purr?"


@pytest.mark.parametrize(
    "reply",
    [
        "1. Why do cats purr?\n2. When do they sleep?\n3. What else?",
        "Here are the questions:\n\n- Why do cats purr?\n\n- When do they sleep?",
    ],
)
def test_the_first_of_several_questions_is_read(reply: str) -> None:
    assert question_in(reply) == "Why do cats purr?"


def test_a_question_over_two_lines_is_one() -> None:
    assert question_in("Why do cats purr\nat night?") == "Why do cats purr at night?"


@pytest.mark.parametrize("reply", ["", "   ", "<think>I cannot", "Here are the questions:"])
def test_a_reply_without_a_question_has_none(reply: str) -> None:
    assert question_in(reply) == ""


@given(st.text(max_size=300))
def test_no_reply_breaks_the_reading(reply: str) -> None:
    assert "\n" not in question_in(reply)


@pytest.mark.parametrize(
    "question",
    [
        "What does the passage say about cats and dogs?",
        "Which animals does this excerpt mention as being lazy?",
        "What do both passages have in common about cats?",
        "Was sagt dieser Abschnitt über die Haltung von Katzen?",
        "Selon ce texte, pourquoi les chats ronronnent-ils la nuit ?",
        "¿Qué dice este texto sobre los gatos de la ciudad?",
        "Что говорится в этом отрывке о кошках и собаках дома?",
        "ماذا يقول هذا النص عن القطط والكلاب في البيت؟",
        "这段文字对于猫和狗的饲养有什么具体的规定和要求?",
        "この文章は猫の飼い方について何を述べていますか?",
    ],
)
def test_pointing_at_the_passage_is_noticed_in_many_languages(question: str) -> None:
    assert why_useless(question, ANY) == "points at its passage"


@pytest.mark.parametrize(
    "question",
    [
        "Which documents must a new shareholder bring to the bank?",
        "How long does the passage of goods through the canal take?",
        "Wie lange dauert die Prüfung der Unterlagen durch die Behörde?",
        "Quels documents faut-il fournir pour demander un visa de travail ?",
        "申请工作签证的外国公民需要向移民局提交哪些文件和证明材料?",
    ],
)
def test_questions_that_stand_alone_are_kept(question: str) -> None:
    assert why_useless(question, ANY) == ""


@pytest.mark.parametrize(
    "question", ["What does 4.7.1 require of an applicant?", "Who must comply with section 12(3)(b)?"]
)
def test_numbered_rules_may_be_cited_only_where_askers_do(question: str) -> None:
    assert why_useless(question, form_of("question", [])) == "cites a number that only the document explains"
    assert why_useless(question, form_of("question", ["What is the scope of Rule 7.1.1(1)(a) for a new firm?"])) == ""


def test_lengths_follow_the_askers() -> None:
    long = form_of("question", ["word " * 24, "word " * 36])
    assert why_useless("Why do cats purr at night?", long) == "has 6 words"
    assert why_useless("word " * 13, long) == why_useless("word " * 54, long) == ""
    assert why_useless("word " * 55, long) == "has 55 words"
    assert why_useless("cats purr night", form_of("keywords", [])) == ""


@pytest.mark.parametrize(
    ("text", "style"),
    [
        ("Why do cats purr?", "question"),
        ("猫为什么会打呼噜?", "question"),
        ("لماذا تخرخر القطط؟", "question"),
        ("cat purring reasons", "keywords"),
        ("Cats purr when they are content.", "claim"),
        ("Cats that are kept indoors purr more often than those that roam", "claim"),
    ],
)
def test_the_way_of_asking_shows(text: str, style: str) -> None:
    assert style_of(text) == style


def test_a_repetition_is_known_by_words_and_by_meaning() -> None:
    east, north = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    known = KnownQuestions(["Why do cats purr?"], np.stack([east]))
    assert not known.adds("why do cats PURR", north)
    assert not known.adds("For what reason do cats purr?", np.array([0.99, 0.141], np.float32))
    assert known.adds("Where do dogs sleep?", north)
    assert not known.adds("At which place do dogs sleep?", north)


@given(st.text(alphabet="aBc é?!.", max_size=30))
def test_equal_words_are_equal_questions(text: str) -> None:
    assert key_of(text.upper()) == key_of(f"  {text.lower()} …")


def test_the_first_question_repeats_nothing() -> None:
    assert KnownQuestions([], []).adds("Why do cats purr?", np.array([1, 0], np.float32))


def passage(n: int, document: str = "", text: str = "word " * 30) -> Passage:
    return Passage(id=f"p{n}", document_id=document or f"d{n}", source="s", text=text)


def test_the_order_to_ask_in_depends_on_nothing_but_the_seed() -> None:
    passages = [passage(n) for n in range(50)]
    first = passages_to_ask_about(passages, seed=1)
    assert passages_to_ask_about(passages, seed=1) == first != passages_to_ask_about(passages, seed=2)
    assert {p.id for p in first} == {p.id for p in passages}


def test_each_document_comes_once_before_any_comes_twice() -> None:
    first = passages_to_ask_about([passage(n, document=f"d{n % 10}") for n in range(50)], seed=3)[:10]
    assert len({p.document_id for p in first}) == 10


def test_fragments_are_asked_about_only_where_there_is_nothing_else() -> None:
    heading = passage(999, text="Part 3")
    assert passages_to_ask_about([passage(1), heading], seed=1) == [passage(1)]
    assert passages_to_ask_about([heading], seed=1) == [heading]
    assert passages_to_ask_about([], seed=1) == []


@given(st.lists(st.sampled_from(["a", "word", "two-part", "née"]), max_size=20))
def test_words_with_spaces_are_counted_as_split(words: list[str]) -> None:
    assert n_words(" ".join(words)) == len(words)


def test_two_letters_without_spaces_are_a_word() -> None:
    assert n_words("猫はなぜ喉を鳴らすのか") == 5.5
    assert n_words("GDPR 第三条是什么?") > 3
    assert n_words("ทำไมแมวถึงคราง") > 5
