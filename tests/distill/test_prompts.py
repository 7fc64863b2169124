"""What the writer is shown: the unchanging first, the passage last, and nothing that passes for an identifier."""

from langchain_core.messages import BaseMessage

from distill.prompts import STYLES, Example, Subject, question_messages

EXAMPLES = [
    Example(question=f"Question {n}, asked by somebody?", subject=Subject(passage=f"Text {n}.")) for n in range(8)
]
CATS, DOGS = Subject(passage="About cats."), Subject(passage="About dogs.")


def texts(messages: list[BaseMessage]) -> list[str]:
    return [str(message.content) for message in messages]


def test_everything_but_the_last_turn_is_the_same_for_every_passage() -> None:
    one, other = (question_messages(subject, examples=EXAMPLES) for subject in (CATS, DOGS))
    assert one[:-1] == other[:-1]
    assert "cats" in texts(one)[-1] and "dogs" in texts(other)[-1]


def test_examples_are_earlier_turns() -> None:
    messages = question_messages(CATS, examples=EXAMPLES)
    assert [m.type for m in messages] == ["system", *["human", "ai"] * 8, "human"]
    assert texts(messages)[2::2] == [example.question for example in EXAMPLES]


def test_a_topic_may_be_the_subject() -> None:
    assert "Topic: cats, milk" in texts(question_messages(Subject(topic="cats, milk")))[-1]


def test_examples_end_as_the_passage_does() -> None:
    turns = texts(question_messages(CATS, examples=EXAMPLES))[1::2]
    assert {turn.rsplit("\n\n", 1)[1] for turn in turns} == {"The question that was asked:"}


def test_without_examples_the_style_is_described() -> None:
    prompts = {style: " ".join(texts(question_messages(CATS, style))) for style in STYLES}
    assert "question only" in prompts["question"]
    assert "search field" in prompts["keywords"]
    assert "confirmed or refuted" in prompts["claim"]


def test_passages_are_cut_and_cannot_pass_for_identifiers() -> None:
    last = texts(question_messages(Subject(passage="word [3] " * 500)))[-1]
    assert "[3]" not in last
    assert last.count("word") <= 60 and "…" in last
    assert len(texts(question_messages(Subject(passage="猫" * 9000)))[-1]) < 2500
