"""What the writer is asked: each passage once, in a style and a view of its own, beside real questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from langchain_core.messages import BaseMessage

from distill.questions.filters import style_of
from distill.questions.prompts import STYLES, Example, Style, Subject, question_messages
from distill.questions.topics import Topics
from indexes.types import Candidate, Passage

_SAME_EXAMPLES = 64  # calls in a row with the same examples, so that servers read those once
_EXAMPLES_SHOWN = 8  # as many were enough in Promptagator (Dai et al. 2022)
_NEIGHBOURS = 12  # looked through for the partner of a passage
View = Literal["pair", "passage", "topic"]
_VIEWS: tuple[View, ...] = ("pair", "passage", "topic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to come: a passage, in which style it is asked about, and what of it is shown."""

    passage: Passage
    style: Style
    view: View


def plan_calls(
    passages: Sequence[Passage],
    styles: Sequence[Style],
    *,
    pair_share: float,
    topic_share: float,
    asked: Collection[str],
    seed: int,
) -> list[Call]:
    """The calls for all `passages` but those `asked` already, by id; each passage's lot does not hang on the others."""
    calls = []
    for passage in passages:
        if passage.id not in asked:
            rng = random.Random(f"{seed} {passage.id}")  # noqa: S311
            style = rng.choice(styles)
            single: View = "topic" if rng.random() < topic_share else "passage"
            view: View = "pair" if rng.random() < pair_share else single
            calls.append(Call(passage=passage, style=style, view=view))
    return calls


def alike_in_a_row(calls: Sequence[Call]) -> list[Call]:
    """`calls`, of any `_SAME_EXAMPLES` in a row those together whose prompts begin alike."""
    places = sorted(
        range(len(calls)), key=lambda place: (place // _SAME_EXAMPLES, calls[place].view, calls[place].style)
    )
    return [calls[place] for place in places]


class Prompts:
    """Calls as messages; `like` are real questions, shown as examples beside what `find` gives for them first."""

    def __init__(
        self,
        topics: Topics,
        like: Sequence[str],
        find: Callable[[Sequence[str]], list[list[Candidate]]],
        *,
        n_per_call: int,
        seed: int,
    ) -> None:
        self._topics = topics
        self._find = find
        self._n_per_call = n_per_call
        self._seed = seed
        of_style = {style: [question for question in like if style_of(question) == style] for style in STYLES}
        self._examples = {(style, view): self._beside(of_style[style], view) for style in STYLES for view in _VIEWS}

    def messages(self, call: Call, passages: Sequence[Passage], place: int) -> list[BaseMessage]:
        """What is asked in the `place`-th call, with `passages` as the call shows them."""
        subject = self._subject([passage.text for passage in passages], call.view)
        # Topics are for those who see how people ask: without examples their questions have nothing to hold on to.
        if subject.topic and not self._examples[call.style, "topic"]:
            subject = Subject(passages=(call.passage.text,))
        view: View = "topic" if subject.topic else "pair" if len(passages) > 1 else "passage"
        examples = self._examples[call.style, view]
        if len(examples) > _EXAMPLES_SHOWN:
            examples = random.Random(f"{self._seed} {place // _SAME_EXAMPLES}").sample(examples, _EXAMPLES_SHOWN)  # noqa: S311
        return question_messages(subject, call.style, examples=examples, n=self._n_per_call)

    def _subject(self, texts: Sequence[str], view: View) -> Subject:
        topic = self._topics.of(texts[0]) if view == "topic" else ""
        return Subject(topic=topic) if topic else Subject(passages=tuple(texts[: 2 if view == "pair" else 1]))

    def _beside(self, questions: Sequence[str], view: View) -> list[Example]:
        """Each real question beside what search finds for it first, in that view: no label is needed."""
        found = self._find(questions) if questions else []
        return [
            Example(question=question, subject=self._subject([c.passage.text for c in candidates], view))
            for question, candidates in zip(questions, found, strict=True)
            if candidates
        ]


def passages_of(call: Call, neighbours: Callable[[Passage, int], list[Passage]]) -> list[Passage]:
    """The passage of `call`, and for a pair the nearest of its `neighbours` that says something else."""
    if call.view != "pair":
        return [call.passage]
    near = neighbours(call.passage, _NEIGHBOURS)
    return [call.passage, *[other for other in near if _says_something_else(other, call.passage)][:1]]


def _says_something_else(other: Passage, passage: Passage) -> bool:
    """Whether `other` is neither a copy of `passage` nor a window of its document that overlaps it."""
    if other.document_id == passage.document_id and other.start < passage.end and passage.start < other.end:
        return False
    return other.id != passage.id and other.text.split() != passage.text.split()
