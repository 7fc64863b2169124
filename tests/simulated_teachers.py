"""Simulated teachers behind the door of a real LLM, and a corpus whose passages say how much they are worth."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from distill.llm.calls import Asker
from distill.records import Assessment, CandidateList, Retrieved
from distill.teacher.assessment import assess_teacher
from distill.teacher.trust import make_probes
from indexes.types import Passage

N = 10
_RETRIEVAL_NOISE = 3.0  # the best of ten, worth 9, then comes first in about two lists of five


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A passage as a teacher may see it: `worth` to the question asked, `start` in the retrieval's order (from 0)."""

    asked: int
    worth: int
    start: int
    length: int
    place: int  # in the prompt, from 1


Preference = Callable[[Shown, random.Random], float]

STRANGER = -3.0  # what a passage of another question is worth


def strong(passage: Shown, chance: random.Random) -> float:
    """Two such orders of ten agree at about τ 0.86, as those of gpt-3.5-turbo do."""
    return passage.worth + chance.gauss(0, 0.75)


TEACHERS: Mapping[str, Preference] = {
    "perfect": lambda passage, chance: passage.worth,
    "steady top, arbitrary tail": lambda passage, chance: 99 if passage.worth == N - 1 else chance.random(),
    "like gpt-3.5-turbo (τ 0.86)": strong,
    "unsteady": lambda passage, chance: passage.worth + chance.gauss(0, 2.6),
    "by length": lambda passage, chance: passage.length,
    "reversed": lambda passage, chance: -passage.worth,
    "reversed, noisy": lambda passage, chance: -strong(passage, chance),
    "copies the retrieval": lambda passage, chance: -passage.start,
    "copies the retrieval, noisy": lambda passage, chance: -passage.start + chance.gauss(0, 1),
    "copies the top, arbitrary tail": lambda passage, chance: 99 if passage.start == 0 else chance.random(),
    "right top, the retrieval's tail": lambda passage, chance: 99 if passage.worth == N - 1 else -passage.start,
    "random": lambda passage, chance: chance.random(),
    "first in the prompt": lambda passage, chance: -passage.place,
    "last in the prompt, mostly": lambda passage, chance: passage.place + chance.gauss(0, 0.7),
}


class SimulatedLLM(BaseChatModel):
    """A teacher that likes passages as a function says."""

    preference: Any
    chance: Any

    @property
    def _llm_type(self) -> str:
        return "simulated"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        text = str(messages[1].content)
        about = int(re.findall(r"Question: about (\d+)", text)[0])
        form = r"^\[(\d+)\] about (\d+) worth (\d+) start (\d+) length (\d+)"
        liked = {}
        for found in re.findall(form, text, re.MULTILINE):
            place, its, worth, start, length = map(int, found)
            known = worth if its == about else STRANGER
            # A passage of another question is behind all that the retrieval found.
            shown = Shown(asked=about, worth=known, start=start if its == about else N, length=length, place=place)
            liked[place] = self.preference(shown, self.chance)
        reply = " > ".join(f"[{place}]" for place in sorted(liked, key=lambda place: -liked[place]))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(reply))])


def lists(
    n_questions: int, seed: int, retrieval_noise: float = _RETRIEVAL_NOISE
) -> tuple[list[CandidateList], list[Passage]]:
    """Candidate records in the order of a noisy retrieval, and the corpus of all their passages."""
    chance = random.Random(seed)  # noqa: S311
    records: list[CandidateList] = []
    corpus: list[Passage] = []
    for question in range(n_questions):
        worths = sorted(range(N), key=lambda worth: -worth + chance.gauss(0, retrieval_noise))
        texts = [
            f"about {question} worth {worth} start {start} length {chance.randint(20, 400)}"
            for start, worth in enumerate(worths)
        ]
        passages = [Passage(id=f"q{question}p{i}", document_id="d", source="d", text=t) for i, t in enumerate(texts)]
        candidates = [Retrieved(passage=passage.id) for passage in passages]
        records.append(CandidateList(id=f"q{question}", question=f"about {question}", candidates=tuple(candidates)))
        corpus += passages
    return records, corpus


def best_of_each(records: Sequence[CandidateList], corpus: Sequence[Passage]) -> dict[str, list[str]]:
    """The passage that answers each question."""
    best = {p.id.split("p")[0]: [p.id] for p in corpus if f" worth {N - 1} " in p.text}
    return {record.id: best[record.id] for record in records}


class Simulation:
    """One teacher, assessed again and again."""

    def __init__(self, preference: Preference) -> None:
        self.llm = SimulatedLLM(preference=preference, chance=random.Random(0))  # noqa: S311
        self.asker = Asker(self.llm)

    def assessed(
        self, seed: int = 0, mode: str = "listwise", n_questions: int = 20, n_probes: int = 20, noise: float = 3.0
    ) -> Assessment:
        """What comes of it on other questions for each `seed`."""
        self.llm.chance.seed(seed)
        records, corpus = lists(max(n_questions, 20), seed, noise)
        probes = make_probes(records, corpus, best_of_each(records, corpus), seed=seed, n_probes=n_probes)
        texts = {passage.id: passage.text for passage in corpus}
        return assess_teacher(records[:n_questions], texts, self.asker, mode, probes, seed=seed)
