"""Questions that the LLM writes for the passages of a corpus, in the askers' own way where that is known."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from langchain_core.messages import BaseMessage

from distill.json_files import Append, appending, read_records
from distill.llm.calls import Asker, ask_all, in_order
from distill.prompts import STYLES, Example, Style, Subject, question_messages
from distill.questions.reading import KnownQuestions, form_of, question_in, style_of, why_useless
from indexes.errors import InputError, LLMError
from indexes.types import Candidate, Passage, Query, Vectors

_N_WORDS = 9  # our choice: enough to know the subject, too few to copy a sentence
_SHORTEST = 4  # letters; shorter words are mostly grammar
_WORD = re.compile(r"[^\W\d_][\w'’-]*")


class Topics:
    """Which words of a text are rare in a corpus, whatever its language (words are what spaces divide)."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._n_texts = 0
        self._n_with: Counter[str] = Counter()
        for text in texts:
            self._n_texts += 1
            self._n_with.update({word.casefold() for word in _WORD.findall(text)})

    def of(self, text: str) -> str:
        """The up to nine words of `text` with the most weight (frequency × log inverse document frequency), in the
        order in which they come first; "" where words cannot be told apart."""
        spelled: dict[str, str] = {}
        weights: dict[str, float] = {}
        for word in _WORD.findall(text):
            key = word.casefold()
            if len(key) >= _SHORTEST:
                spelled.setdefault(key, word)
                rarity = math.log((1 + self._n_texts) / (1 + self._n_with[key]))
                weights[key] = weights.get(key, 0.0) + rarity
        chosen = set(sorted(weights, key=lambda key: -weights[key])[:_N_WORDS])
        return ", ".join(word for key, word in spelled.items() if key in chosen)


_SAME_EXAMPLES = 64  # calls in a row with the same examples, so that servers read those once
_EXAMPLES_SHOWN = 8  # as many were enough in Promptagator (Dai et al. 2022)
_TOPIC_SHARE = 2 / 3  # of the calls where there are examples; our choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to come: a passage, in which style it is asked about, and whether only its rare words are shown."""

    passage: Passage
    style: Style
    is_topic: bool


def plan_calls(passages: Sequence[Passage], styles: Sequence[Style], *, seed: int) -> list[Call]:
    """The calls for all `passages`; each passage's lot does not hang on the others."""
    calls = []
    for passage in passages:
        rng = random.Random(f"{seed} {passage.id}")  # noqa: S311
        calls.append(Call(passage=passage, style=rng.choice(styles), is_topic=rng.random() < _TOPIC_SHARE))
    return calls


def alike_in_a_row(calls: Sequence[Call]) -> list[Call]:
    """`calls`, of any `_SAME_EXAMPLES` in a row those together whose prompts begin alike."""
    places = sorted(
        range(len(calls)), key=lambda place: (place // _SAME_EXAMPLES, calls[place].is_topic, calls[place].style)
    )
    return [calls[place] for place in places]


class Prompts:
    """Calls as messages; `like` are real questions, shown as examples beside what `find` gives for them first."""

    def __init__(
        self, topics: Topics, like: Sequence[str], find: Callable[[Sequence[str]], list[list[Candidate]]], *, seed: int
    ) -> None:
        self._topics = topics
        self._seed = seed
        found = zip(like, find(like) if like else [], strict=True)
        self._beside = [(question, candidates[0].passage.text) for question, candidates in found if candidates]

    def messages(self, call: Call, place: int) -> list[BaseMessage]:
        """What is asked in the `place`-th call."""
        texts = [(question, text) for question, text in self._beside if style_of(question) == call.style]
        # Topics are for those who see how people ask: without examples their questions have nothing to hold on to.
        is_topic = call.is_topic and bool(texts and self._topics.of(call.passage.text))
        examples = [Example(question=question, subject=self._subject(text, is_topic)) for question, text in texts]
        if len(examples) > _EXAMPLES_SHOWN:
            examples = random.Random(f"{self._seed} {place // _SAME_EXAMPLES}").sample(examples, _EXAMPLES_SHOWN)  # noqa: S311
        return question_messages(self._subject(call.passage.text, is_topic), call.style, examples=examples)

    def _subject(self, text: str, is_topic: bool) -> Subject:
        topic = self._topics.of(text) if is_topic else ""
        return Subject(topic=topic) if topic else Subject(passage=text)


_JUDGED_AT_ONCE = 8  # replies: a search and an encoding for all of them, and no more lost by a kill
_TRIES_PER_QUESTION = 5  # calls for each question wanted before the LLM is given up
ROUND_TRIP_DEPTH = 20  # a question is kept if its passage is among so many found for it


class Written(NamedTuple):
    """Written questions with their documents as positives, and by question id the passages that each is about."""

    queries: list[Query]
    about: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of the corpus: `find` answers many questions by fused search, best first, at least
    `ROUND_TRIP_DEPTH` deep; `embed` gives questions' unit vectors (B, D)."""

    find: Callable[[Sequence[str]], list[list[Candidate]]]
    embed: Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A question that the LLM wrote about the passages of a `call`; `documents` are those of them that it finds,
    `dropped` is why it cannot be used, or "".
    """

    call: tuple[str, ...]
    style: Style
    question: str
    documents: tuple[str, ...]
    dropped: str


def write_questions(
    passages: Sequence[Passage],
    asker: Asker,
    file: Path,
    corpus: Surroundings,
    *,
    n: int,
    styles: Sequence[Style] = (),
    like: Sequence[str] = (),
    seed: int,
    on_progress: Callable[[int, int], None],
) -> Written:
    """`n` questions that the LLM wrote about `passages`, which are asked about in their order, in `styles` by lot.

    `like` are real questions: what is written has their forms and lengths, and their styles where none are named. Where
    there are such examples, most calls show rare words of the passage in its place: a writer that cannot copy writes
    questions whose passages are harder to find, as those of real ones are.

    `file` keeps every question with what became of it (`Draft`), and a second call goes on after the last one, to the
    same end: neither when it was cut off nor which reply came first decides what is asked and kept. Dropped are replies
    that are no question, point at their passage, repeat another question, or do not lead back to the passage they were
    written for, and requests that failed. Raises `InputError` if nothing is left.
    """
    records = read_records(file, Draft)
    before: dict[str, list[Draft]] = {}
    for record in records:
        before.setdefault(record.call[0], []).append(record)
    writer = _Writer(like, corpus, Topics(passage.text for passage in passages), before, seed)
    styles = styles or tuple(style_of(question) for question in like) or ("question",)
    calls = plan_calls(passages, styles, seed=seed)
    n_left = _TRIES_PER_QUESTION * n
    with appending(file) as append:
        while calls and n_left > 0 and (n_missing := n - len(writer.kept)) > 0:
            # Just as many as are missing: an LLM's time is the dear thing here.
            wave = calls[: min(n_missing, n_left)]
            calls, n_left = calls[len(wave) :], n_left - len(wave)
            for record in writer.asked(wave, asker, append):
                records.append(record)
                on_progress(min(len(writer.kept), n), n)
    if not writer.kept:
        reasons = Counter(record.dropped for record in records).most_common(1)
        most = f"; most often: {reasons[0][0]}" if reasons else ""
        raise InputError(
            f"None of the {len(records)} questions that the LLM wrote could be used{most} (see {file}). Give questions "
            "of your own with --questions, or use a stronger LLM."
        )
    return _as_written(writer.kept[:n])


def _kept(records: Iterable[Draft]) -> list[Draft]:
    return [record for record in records if not record.dropped]


def _as_written(records: Sequence[Draft]) -> Written:
    ids = [f"w{number}" for number in range(1, len(records) + 1)]
    queries = [
        Query(id=identifier, text=record.question, positives=tuple(dict.fromkeys(record.documents)))
        for identifier, record in zip(ids, records, strict=True)
    ]
    return Written(queries, {i: record.call for i, record in zip(ids, records, strict=True)})


class _Writer:
    """Asks, judges, and knows what has been kept."""

    def __init__(
        self, like: Sequence[str], corpus: Surroundings, topics: Topics, before: Mapping[str, list[Draft]], seed: int
    ) -> None:
        self.kept: list[Draft] = []
        self._before = before  # what is known of calls from a process before this one, by their passage
        self._corpus = corpus
        self._forms = {style: form_of(style, [q for q in like if style_of(q) == style]) for style in STYLES}
        self._prompts = Prompts(topics, like, corpus.find, seed=seed)
        known = [*like, *(record.question for drafts in before.values() for record in _kept(drafts))]
        self._known = KnownQuestions(known, corpus.embed(known) if known else [])

    def asked(self, calls: Sequence[Call], asker: Asker, append: Append) -> Iterator[Draft]:
        """The judged questions of those `calls` that were not asked before, as the replies come; what came before a
        failure is kept in the file."""
        placed = list(enumerate(alike_in_a_row(calls), start=len(self.kept)))
        self.kept += [record for _, call in placed for record in _kept(self._before.get(call.passage.id, ()))]
        placed = [(place, call) for place, call in placed if call.passage.id not in self._before]
        prompts = [self._prompts.messages(call, place) for place, call in placed]
        waiting: list[tuple[Call, str]] = []
        failed: list[Draft] = []

        def judged() -> list[Draft]:
            records = self._judge(waiting)
            waiting.clear()
            for record in records:
                append(record)
            return records

        try:
            for position, reply in in_order(ask_all(asker, prompts)):
                if isinstance(reply, LLMError):
                    failed.append(_draft(placed[position][1], "", f"no reply: {reply}"))
                    continue
                waiting.append((placed[position][1], reply))
                if len(waiting) >= _JUDGED_AT_ONCE:
                    yield from judged()
        except BaseException:
            judged()
            raise
        for record in failed:  # only now: where writing ends early they are asked again
            append(record)
        yield from [*judged(), *failed]

    def _judge(self, replies: Sequence[tuple[Call, str]]) -> list[Draft]:
        texts = [question_in(reply) for _, reply in replies]
        if not texts:
            return []
        found, vectors = self._corpus.find(texts), self._corpus.embed(texts)
        records = []
        for (call, _), question, candidates, vector in zip(replies, texts, found, vectors, strict=True):
            is_found = call.passage.id in {candidate.passage.id for candidate in candidates[:ROUND_TRIP_DEPTH]}
            reason = why_useless(question, self._forms[call.style])
            if not reason and not is_found:
                reason = "does not lead back to its passage"
            if not reason and not self._known.adds(question, vector):
                reason = "repeats another question"
            records.append(_draft(call, question, reason))
        self.kept += _kept(records)
        return records


def _draft(call: Call, question: str, reason: str) -> Draft:
    return Draft(
        call=(call.passage.id,),
        style=call.style,
        question=question,
        documents=() if reason else (call.passage.document_id,),
        dropped=reason,
    )
