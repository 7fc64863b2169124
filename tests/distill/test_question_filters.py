"""What a reply is cleaned to, and what is of no use to anyone who searches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.questions.sources import KnownQuestions, form_of, key_of, questions_in, style_of, why_useless

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
    assert questions_in(reply, 1) == ["Why do cats purr?"]


@pytest.mark.parametrize(
    "reply",
    [
        "1. Why do cats purr?\n2. When do they sleep?\n3. What else?",
        "Here are the questions:\n\n- Why do cats purr?\n\n- When do they sleep?",
        "Q1: Why do cats purr?\nQ2: When do they sleep?\nNote: both are short.",
    ],
)
def test_as_many_questions_are_read_as_were_wanted(reply: str) -> None:
    assert questions_in(reply, 2) == ["Why do cats purr?", "When do they sleep?"]


def test_a_question_over_two_lines_is_one() -> None:
    assert questions_in("Why do cats purr\nat night?", 1) == ["Why do cats purr at night?"]


@pytest.mark.parametrize("reply", ["", "   ", "<think>I cannot", "Here are the questions:"])
def test_a_reply_without_a_question_has_none(reply: str) -> None:
    assert questions_in(reply, 2) == []


@given(st.text(max_size=300), st.integers(1, 4))
def test_no_reply_breaks_the_reading(reply: str, n: int) -> None:
    questions = questions_in(reply, n)
    assert len(questions) <= n
    assert all(question.strip() and "\n" not in question for question in questions)


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
