"""Any beginning of the order covers the corpus, and a script without spaces has words too."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.questions.sources import n_words, order_by_coverage
from indexes.types import Passage, Vectors

TOPICS = {"cats": 120, "dogs": 60, "fish": 20}


def passage(n: int, topic: str, document: str = "", text: str = "") -> Passage:
    return Passage(id=f"{topic}{n}", document_id=document or f"d{topic}{n}", source="s", text=text or f"{topic} " * 30)


PASSAGES = [passage(n, topic) for topic, size in TOPICS.items() for n in range(size)]


def vectors_of(ids: Sequence[str]) -> Vectors:
    """Passages of a topic lie close together, those of different ones at right angles."""
    vectors = np.zeros((len(ids), 4), dtype=np.float32)
    for row, identifier in enumerate(ids):
        topic = identifier.rstrip("0123456789")
        vectors[row, list(TOPICS).index(topic) if topic in TOPICS else 0] = 1.0
    return vectors


@pytest.mark.parametrize("n", [20, 50, 100])
def test_every_beginning_has_each_topic_in_proportion(n: int) -> None:
    drawn = Counter(p.id.rstrip("0123456789") for p in order_by_coverage(PASSAGES, vectors_of, seed=1)[:n])
    for topic, size in TOPICS.items():
        assert abs(drawn[topic] - n * size / len(PASSAGES)) <= 2


def test_the_order_does_not_depend_on_anything_but_the_seed() -> None:
    first = order_by_coverage(PASSAGES, vectors_of, seed=1)
    assert order_by_coverage(PASSAGES, vectors_of, seed=1) == first
    assert order_by_coverage(PASSAGES, vectors_of, seed=2) != first
    assert {p.id for p in first} == {p.id for p in PASSAGES}


def test_each_document_of_a_topic_comes_once_before_any_comes_twice() -> None:
    passages = [passage(n, "cats", document=f"d{n % 10}") for n in range(50)]
    first = order_by_coverage(passages, lambda ids: np.ones((len(ids), 2), dtype=np.float32), seed=3)[:10]
    assert len({p.document_id for p in first}) == 10


def test_fragments_are_asked_about_only_where_there_is_nothing_else() -> None:
    heading = passage(999, "cats", text="Part 3")
    assert heading not in order_by_coverage([*PASSAGES, heading], vectors_of, seed=1)
    assert order_by_coverage([heading], vectors_of, seed=1) == [heading]
    assert order_by_coverage([], vectors_of, seed=1) == []


@given(st.lists(st.sampled_from(["a", "word", "two-part", "née"]), max_size=20))
def test_words_with_spaces_are_counted_as_split(words: list[str]) -> None:
    assert n_words(" ".join(words)) == len(words)


def test_two_letters_without_spaces_are_a_word() -> None:
    assert n_words("猫はなぜ喉を鳴らすのか") == 5.5
    assert n_words("GDPR 第三条是什么?") > 3
    assert n_words("ทำไมแมวถึงคราง") > 5
