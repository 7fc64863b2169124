"""Questions are written for the whole corpus, filtered, kept as they come, and split once."""

import re
from pathlib import Path

import pytest
from langchain_core.language_models import BaseChatModel
from scripted_endpoint import Message, ScriptedEndpoint

from distill.jsonl import read_records
from distill.questions import assign_splits, clean_question, load_questions, sample_passages, write_questions
from indexes.errors import InputError
from indexes.types import Passage, Query

PASSAGES = [
    Passage(id=f"p{n}", document_id=f"d{n}", source="s", text=f"Topic{n} is described " + "in many words " * 10)
    for n in range(40)
]


def ask_about_topic(messages: list[Message]) -> str:
    topic = re.search(r"Topic\d+", str(messages[-1]["content"]))
    assert topic
    return f"Question: What should a newcomer know about {topic[0]}?"


def write(llm: BaseChatModel, file: Path, n: int, found: bool = True) -> list[Query]:
    return write_questions(
        PASSAGES, llm, n, file, is_found=lambda q, p: found, seed=3, on_progress=lambda done, total: None
    )


def test_written_questions_have_their_document_as_positive(
    llm: BaseChatModel, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = ask_about_topic
    queries = write(llm, tmp_path / "written.jsonl", 5)
    assert len(queries) == 5
    for query in queries:
        (document,) = query.positives
        assert query.text == f"What should a newcomer know about Topic{document[1:]}?"


def test_writing_goes_on_where_it_was(llm: BaseChatModel, endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.reply = ask_about_topic
    first = write(llm, tmp_path / "written.jsonl", 3)
    assert len(endpoint.requests) == 3
    assert write(llm, tmp_path / "written.jsonl", 5)[:3] == first
    assert len(endpoint.requests) == 5


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("What does the passage say about cats and dogs?", "points at its passage"),
        ("What does section 4.7.1 require of an applicant?", "points at its passage"),
        ("Cats?", "has 1 words"),
    ],
)
def test_bad_questions_are_dropped_with_their_reason(
    llm: BaseChatModel, endpoint: ScriptedEndpoint, tmp_path: Path, reply: str, reason: str
) -> None:
    endpoint.reply = lambda messages: reply
    with pytest.raises(InputError, match="None of the"):
        write(llm, tmp_path / "written.jsonl", 2)
    assert {record["dropped"] for record in read_records(tmp_path / "written.jsonl")} == {reason}


def test_repeated_questions_are_dropped(llm: BaseChatModel, endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda messages: "What is the answer to everything?"
    assert len(write(llm, tmp_path / "written.jsonl", 3)) == 1


def test_questions_that_do_not_lead_back_are_dropped(
    llm: BaseChatModel, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = ask_about_topic
    with pytest.raises(InputError, match="None of the"):
        write(llm, tmp_path / "written.jsonl", 2, found=False)


def test_passages_are_drawn_from_everywhere_one_a_document_first() -> None:
    doubled = [
        *PASSAGES,
        *(Passage(id=f"x{n}", document_id="d0", source="s", text=PASSAGES[0].text) for n in range(99)),
    ]
    drawn = sample_passages(doubled, 40, seed=1)
    assert {passage.document_id for passage in drawn} == {passage.document_id for passage in PASSAGES}
    assert drawn == sample_passages(doubled, 40, seed=1) != sample_passages(doubled, 40, seed=2)


@pytest.mark.parametrize(
    "reply",
    ["Why do cats purr?", 'Question: "Why do cats purr?"', "<think>hm</think>\n1. Why do cats purr?\n\nNote: …"],
)
def test_labels_thinking_and_quotes_are_taken_off(reply: str) -> None:
    assert clean_question(reply) == "Why do cats purr?"


def test_a_file_with_splits_keeps_them_and_only_train_trains(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text("".join(f'{{"question": "q{n}?", "split": "{s}"}}\n' for n, s in enumerate(["train", "test", ""])))
    assert [query.split for query in load_questions(file, seed=1)] == ["train", "dev", "dev"]


def test_without_splits_a_fifth_is_held_out_by_seed() -> None:
    queries = [Query(id=str(n), text=f"q{n}?") for n in range(50)]
    splits = [query.split for query in assign_splits(queries, seed=1)]
    assert splits.count("dev") == 10
    assert splits == [query.split for query in assign_splits(queries, seed=1)]


def test_a_file_without_training_questions_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"question": "a?", "split": "dev"}\n')
    with pytest.raises(InputError, match="to train with"):
        load_questions(file, seed=1)
