"""A passage that holds the answer must not be taught as wrong."""

from distill.jsonl import Record
from distill.retriever.doubtful import doubtful_passages
from distill.retriever.targets import contrastive, pseudo_label
from indexes.types import Query

TEXTS = {
    "a": "Bees were kept in Ancient Egypt.",
    "b": "Honey comes from ancient egypt, they say.",
    "c": "Ancient Egyptian ships were long.",
    "d": "Bread is baked.",
}
CANDIDATES: list[Record] = [
    {"id": "q", "question": "where?", "candidates": [{"passage": p, "document": f"doc-{p}"} for p in "abcd"]}
]
QUERY = Query(id="q", text="where?", answers=("Ancient Egypt", "no"), positives=("doc-a",))


def test_passages_with_the_answer_that_nobody_called_relevant_are_doubtful() -> None:
    """Whole words only: an Egyptian ship is not the answer; and "no" is too short to tell anything."""
    assert doubtful_passages([QUERY], CANDIDATES, TEXTS) == {"q": frozenset("b")}


def test_questions_without_answers_have_no_doubtful_passages() -> None:
    assert doubtful_passages([Query(id="q", text="where?")], CANDIDATES, TEXTS) == {}


def test_doubtful_passages_are_no_negatives() -> None:
    doubtful = {"q": frozenset("b")}
    rankings = {"q": {"id": "q", "ranking": ["a", "b", "c", "d"], "shown": ["a", "b", "c", "d"]}}
    (target,) = contrastive(CANDIDATES, rankings, doubtful)
    assert target["passages"] == ["a", "c", "d"]
    assert target["scores"][0] == 0.0 > max(target["scores"][1:])
    (record,) = pseudo_label([{"id": "q", "passages": ["a", "b", "c"], "scores": [2.0, 1.0, 0.0]}], doubtful=doubtful)
    assert (record["passages"], record["scores"], record["positive"]) == (["a", "c"], [2.0, 0.0], "a")


def test_a_doubtful_passage_that_the_teacher_puts_first_is_its_positive() -> None:
    rankings = {"q": {"id": "q", "ranking": ["b", "a"], "shown": ["a", "b"]}}
    (target,) = contrastive(CANDIDATES, rankings, {"q": frozenset("b")})
    assert target["passages"] == ["b", "a"]
