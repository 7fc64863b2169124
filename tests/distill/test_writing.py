"""Questions that the LLM writes, and the topics that they are about."""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fakes import KeywordEncoder
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from scripted_endpoint import Message, ScriptedEndpoint

from distill.json_files import read_records
from distill.llm.calls import Asker
from distill.prompts import Style
from distill.questions.writing import Draft, Surroundings, Topics, Written, write_questions
from indexes.errors import InputError, LLMError
from indexes.types import Candidate, Passage

PASSAGES = [
    Passage(id=f"p{n}", document_id=f"d{n}", source="s", text=f"Topic{n} is described " + "in many words " * 10)
    for n in range(40)
]
LIKE = tuple(f"What must the owner of animal{n} do before the winter comes to the country?" for n in range(8))


@pytest.fixture
def asker(llm: BaseChatModel) -> Asker:
    return Asker(llm)


def ask_about_topic(messages: list[Message]) -> str:
    topic = re.search(r"Topic\d+", str(messages[-1]["content"]))
    assert topic
    return f"Question: What should a newcomer know about {topic[0]}?"


def named_in(question: str) -> list[Candidate]:
    return [Candidate(passage=p, score=1.0) for p in PASSAGES if re.search(rf"\b{p.text.split()[0]}\b", question)]


def surroundings(*, finds: bool = True) -> Surroundings:
    def find(questions: Sequence[str]) -> list[list[Candidate]]:
        first = [Candidate(passage=PASSAGES[39], score=0.1), Candidate(passage=PASSAGES[38], score=0.0)]
        return [(named_in(question) if finds else []) or first for question in questions]

    return Surroundings(find=find, embed=KeywordEncoder().encode_queries)


def write(
    asker: Asker,
    file: Path,
    n: int,
    corpus: Surroundings | None = None,
    styles: Sequence[Style] = (),
    like: Sequence[str] = (),
) -> Written:
    return write_questions(
        PASSAGES[:30],
        asker,
        file,
        corpus or surroundings(),
        n=n,
        styles=styles,
        like=like,
        seed=3,
        on_progress=lambda done, total: None,
    )


def test_written_questions_have_their_document_as_positive(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = ask_about_topic
    queries, about = write(asker, tmp_path / "written.jsonl", 5)
    assert len(queries) == 5
    for query in queries:
        (document,) = query.positives
        assert query.text == f"What should a newcomer know about Topic{document[1:]}?"
        assert about[query.id] == (f"p{document[1:]}",)


def test_writing_goes_on_where_it_was(asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    endpoint.reply = ask_about_topic
    first = write(asker, tmp_path / "written.jsonl", 3)
    assert len(endpoint.requests) == 3
    assert write(asker, tmp_path / "written.jsonl", 5).queries[:3] == first.queries
    assert len(endpoint.requests) == 5
    assert len(write(asker, tmp_path / "written.jsonl", 5).queries) == 5
    assert len(endpoint.requests) == 5


def test_neither_a_kill_nor_which_reply_came_first_changes_what_is_written(
    connect: Callable[[], BaseChatModel], endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    """Questions get their numbers, and by these their split, in the order in which they are kept."""

    def reply(messages: list[Message]) -> str:
        said = ask_about_topic(messages)
        time.sleep(0.03 if len(endpoint.requests) % 2 else 0.0)
        return "I would rather not." if re.search(r"Topic\d*[036]\b", said) else said

    endpoint.reply = reply
    styles: Sequence[Style] = ("question", "keywords")
    alone = write(Asker(connect()), tmp_path / "alone.jsonl", 9, styles=styles)
    lines = (tmp_path / "alone.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    assert len(lines) > 9  # some were of no use, and others were asked for in their place
    for n in (0, 4, 10):
        (tmp_path / f"{n}.jsonl").write_text("".join(lines[:n]) + lines[n][:20], encoding="utf-8")
        assert write(Asker(connect(), concurrency=4), tmp_path / f"{n}.jsonl", 9, styles=styles) == alone
        assert (tmp_path / f"{n}.jsonl").read_text(encoding="utf-8") == "".join(lines)


def test_replies_before_a_failure_are_kept(asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    """An LLM's time is dear: what was answered before the endpoint refused is not asked again."""

    def reply(messages: list[Message]) -> str:
        if len(endpoint.requests) == 3:
            endpoint.fail(401)
        return ask_about_topic(messages)

    endpoint.reply = reply
    with pytest.raises(LLMError):
        write(asker, tmp_path / "written.jsonl", 8)
    assert len(read_records(tmp_path / "written.jsonl", Draft)) == 3


def test_examples_stand_beside_what_search_finds_for_them_and_topics_only_beside_topics(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    """A passage in one turn and rare words in the next would be two tasks; alone, topics hold on to nothing."""
    endpoint.reply = lambda messages: "What must the owner of an animal do before the winter comes?"
    with pytest.raises(InputError):
        write(asker, tmp_path / "a.jsonl", 5, like=LIKE)
    shown = []
    for request in endpoint.requests:
        said = [str(m["content"]) for m in request.messages if m["role"] == "assistant"]
        assert sorted(said) == sorted(LIKE)
        assert "Topic39" in str(request.messages[1]["content"])
        kinds = {str(m["content"]).split(":")[0] for m in request.messages if m["role"] == "user"}
        assert len(kinds) == 1
        shown += kinds
    assert set(shown) == {"Topic", "Passage"} and shown.count("Topic") > shown.count("Passage")
    n = len(endpoint.requests)
    write(asker, tmp_path / "b.jsonl", 1, _finds_all())
    assert "Passage: Topic" in str(endpoint.requests[n].messages[-1]["content"])


def _finds_all() -> Surroundings:
    everything = [Candidate(passage=passage, score=1.0) for passage in PASSAGES]
    return Surroundings(find=lambda questions: [everything for _ in questions], embed=KeywordEncoder().encode_queries)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("What does the passage say about cats and dogs?", "points at its passage"),
        ("What does section 4.7.1 require of an applicant?", "cites a number that only the document explains"),
        ("Cats?", "has 1 words"),
        ("What is the answer to all of these things?", "does not lead back to its passage"),
    ],
)
def test_bad_questions_are_dropped_with_their_reason(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path, reply: str, reason: str
) -> None:
    endpoint.reply = lambda messages: reply
    with pytest.raises(InputError, match=f"None of the 10 .* most often: {re.escape(reason)}"):
        write(asker, tmp_path / "written.jsonl", 2)
    records = read_records(tmp_path / "written.jsonl", Draft)
    assert {record.dropped for record in records} == {reason}
    assert len(records) == 10  # five tries for each, then the LLM is given up


def test_repeated_questions_and_repeated_examples_are_dropped(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = lambda messages: LIKE[0] if len(endpoint.requests) % 2 else "What do people need to know here?"
    assert len(write(asker, tmp_path / "written.jsonl", 3, _finds_all(), like=LIKE).queries) == 1
    reasons = [record.dropped for record in read_records(tmp_path / "written.jsonl", Draft)]
    assert reasons.count("repeats another question") == len(reasons) - 1


def test_styles_are_those_wanted_or_those_of_the_examples(
    asker: Asker, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    endpoint.reply = lambda messages: ask_about_topic(messages).removeprefix("Question: ")
    write(asker, tmp_path / "a.jsonl", 8, styles=("keywords", "claim"))
    assert {record.style for record in read_records(tmp_path / "a.jsonl", Draft)} == {"keywords", "claim"}
    endpoint.reply = lambda messages: f"horse insurance {len(endpoint.requests)}"
    write(asker, tmp_path / "b.jsonl", 3, _finds_all(), like=("cat winter food", "dog kennel", "horse stable rules"))
    assert {record.style for record in read_records(tmp_path / "b.jsonl", Draft)} == {"keywords"}


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
