"""A topic is a passage's own rare words, few and in their order."""

from hypothesis import given
from hypothesis import strategies as st

from distill.questions.writing import Topics

TEXTS = [f"Every applicant shall keep records about subject{n} and about nothing else." for n in range(30)]


def test_rare_words_stand_for_the_passage() -> None:
    topics = Topics([*TEXTS, "Every applicant shall insure horses against lightning."])
    words = topics.of("Every applicant shall insure horses against lightning and nothing but horses.").split(", ")
    assert [word for word in words if word in {"insure", "horses", "lightning"}] == ["insure", "horses", "lightning"]


def test_numbers_and_short_words_are_no_topic() -> None:
    assert Topics(TEXTS).of("3.1.2 (a) if it is so, 2024 or 7 of us") == ""


@given(st.text(max_size=400))
def test_at_most_nine_words_of_the_text_itself(text: str) -> None:
    words = [word for word in Topics([text, "other words"]).of(text).split(", ") if word]
    assert len(words) <= 9
    assert all(word in text for word in words)
