"""Questions that the LLM writes for the passages of a corpus, in the askers' own way where that is known."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from langchain_core.messages import BaseMessage

from distill.json_files import Append, appending, read_records
from distill.llm.calls import Asker, ask_all, in_order
from distill.prompts import STYLES, Example, Style, Subject, question_messages
from distill.questions.sources import Form, KnownQuestions, form_of, questions_in, style_of, why_useless
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
    seed: int,
) -> list[Call]:
    """The calls for all `passages`; each passage's lot does not hang on the others."""
    calls = []
    for passage in passages:
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


_JUDGED_AT_ONCE = 8  # replies: a search and an encoding for all of them, and no more lost by a kill
_TRIES_PER_QUESTION = 5  # calls for each question wanted before the LLM is given up


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingConfig:
    """What is to be written.

    `like` are real questions: what is written has their forms and lengths. `styles` are taken in turn by lot; none
    means those of `like`, or plain questions. `pair_share` of the calls show two related passages. Where there are
    examples, `topic_share` of the others show rare words of the passage in its place: a writer that cannot copy
    writes questions whose passages are harder to find, as those of real ones are. A question is kept if a passage it
    was written for is within the first `round_trip_depth` found for it.
    """

    n_questions: int
    styles: tuple[Style, ...] = ()
    like: tuple[str, ...] = ()
    pair_share: float = 0.25
    topic_share: float = 2 / 3
    n_per_call: int = 1
    round_trip_depth: int = 20

    def __post_init__(self) -> None:
        unknown = sorted(set(self.styles) - set(STYLES))
        if unknown:
            raise InputError(f"Styles are {', '.join(STYLES)}, but '{unknown[0]}' was given. Choose among these.")
        if self.n_questions < 1 or self.n_per_call < 1 or self.round_trip_depth < 1:
            raise InputError("Numbers of questions, questions a call and the round trip's depth are 1 or more.")
        for share in (self.pair_share, self.topic_share):
            if not 0.0 <= share <= 1.0:
                raise InputError(f"Shares of pairs and of topics lie between 0 and 1, but {share} was given.")


class Written(NamedTuple):
    """Written questions with their documents as positives, and by question id the passages that each is about."""

    queries: list[Query]
    about: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of the corpus: `find` answers many questions by fused search, best first; `neighbours` are the
    passages most like one, nearest first and without it; `embed` gives questions' unit vectors (B, D)."""

    find: Callable[[Sequence[str]], list[list[Candidate]]]
    neighbours: Callable[[Passage, int], list[Passage]]
    embed: Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A question that the LLM wrote in a call about passages; `passages` are those of them that it finds, `documents`
    theirs, `dropped` why it cannot be used, or "".
    """

    call: tuple[str, ...]
    view: View
    style: Style
    question: str
    passages: tuple[str, ...]
    documents: tuple[str, ...]
    dropped: str


def write_questions(
    passages: Sequence[Passage],
    asker: Asker,
    config: WritingConfig,
    file: Path,
    corpus: Surroundings,
    *,
    seed: int,
    on_progress: Callable[[int, int], None],
) -> Written:
    """`config.n_questions` questions that the LLM wrote about `passages`, which are asked about in their order.

    `file` keeps every question with what became of it (`Draft`), and a second call goes on after the last one, to the
    same end: neither when it was cut off nor which reply came first decides what is asked and kept. Dropped are replies
    that are no question, point at their passage, repeat another question, or do not lead back to a passage they were
    written for, and requests that failed. Raises `InputError` if nothing is left.
    """
    records = read_records(file, Draft)
    before: dict[str, list[Draft]] = {}
    for record in records:
        before.setdefault(record.call[0], []).append(record)
    writer = _Writer(config, corpus, Topics(passage.text for passage in passages), before, seed)
    calls = plan_calls(
        passages,
        config.styles or tuple(style_of(question) for question in config.like) or ("question",),
        pair_share=config.pair_share,
        topic_share=config.topic_share,
        seed=seed,
    )
    n_left = _TRIES_PER_QUESTION * config.n_questions
    with appending(file) as append:
        while calls and n_left > 0 and writer.n_missing > 0:
            # Just as many as are missing: an LLM's time is the dear thing here.
            n = min(-(-writer.n_missing // config.n_per_call), n_left)
            wave, calls, n_left = calls[:n], calls[n:], n_left - n
            for record in writer.asked(wave, asker, append):
                records.append(record)
                on_progress(min(len(writer.kept), config.n_questions), config.n_questions)
    if not writer.kept:
        reasons = Counter(record.dropped for record in records).most_common(1)
        most = f"; most often: {reasons[0][0]}" if reasons else ""
        raise InputError(
            f"None of the {len(records)} questions that the LLM wrote could be used{most} (see {file}). Give questions "
            "of your own with --questions, or use a stronger LLM."
        )
    return _as_written(writer.kept[: config.n_questions])


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
        self, config: WritingConfig, corpus: Surroundings, topics: Topics, before: Mapping[str, list[Draft]], seed: int
    ) -> None:
        self.kept: list[Draft] = []
        self._before = before  # what is known of calls from a process before this one, by their passage
        self._config = config
        self._corpus = corpus
        like = {style: [q for q in config.like if style_of(q) == style] for style in STYLES}
        self._forms = {style: form_of(style, like[style]) for style in STYLES}
        self._prompts = Prompts(topics, config.like, corpus.find, n_per_call=config.n_per_call, seed=seed)
        known = [*config.like, *(record.question for drafts in before.values() for record in _kept(drafts))]
        self._known = KnownQuestions(known, corpus.embed(known) if known else [])

    @property
    def n_missing(self) -> int:
        return self._config.n_questions - len(self.kept)

    def asked(self, calls: Sequence[Call], asker: Asker, append: Append) -> Iterator[Draft]:
        """The judged questions of those `calls` that were not asked before, as the replies come; what came before a
        failure is kept in the file."""
        placed = list(enumerate(alike_in_a_row(calls), start=len(self.kept)))
        self.kept += [record for _, call in placed for record in _kept(self._before.get(call.passage.id, ()))]
        placed = [(place, call) for place, call in placed if call.passage.id not in self._before]
        calls = [call for _, call in placed]
        shown = [passages_of(call, self._corpus.neighbours) for call in calls]
        prompts = [
            self._prompts.messages(call, passages, place) for (place, call), passages in zip(placed, shown, strict=True)
        ]
        waiting: list[tuple[Call, list[Passage], str]] = []
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
                    failed.append(_draft(calls[position], shown[position], "", [], f"no reply: {reply}"))
                    continue
                waiting.append((calls[position], shown[position], reply))
                if len(waiting) >= _JUDGED_AT_ONCE:
                    yield from judged()
        except BaseException:
            judged()
            raise
        for record in failed:  # only now: where writing ends early they are asked again
            append(record)
        yield from [*judged(), *failed]

    def _judge(self, replies: Sequence[tuple[Call, list[Passage], str]]) -> list[Draft]:
        drafts = [
            (call, passages, question)
            for call, passages, reply in replies
            for question in questions_in(reply, self._config.n_per_call) or [""]
        ]
        if not drafts:
            return []
        texts = [question for _, _, question in drafts]
        found = self._corpus.find(texts)
        vectors = self._corpus.embed(texts)
        records = []
        for (call, passages, question), candidates, vector in zip(drafts, found, vectors, strict=True):
            first = {candidate.passage.id for candidate in candidates[: self._config.round_trip_depth]}
            led_to = [passage for passage in passages if passage.id in first]
            reason = self._why_dropped(question, self._forms[call.style], vector, passages, led_to)
            records.append(_draft(call, passages, question, led_to, reason))
        self.kept += _kept(records)
        return records

    def _why_dropped(
        self, question: str, form: Form, vector: Vectors, passages: Sequence[Passage], led_to: Sequence[Passage]
    ) -> str:
        reason = why_useless(question, form)
        if reason:
            return reason
        if not led_to:
            return "does not lead back to its passage" + ("s" if len(passages) > 1 else "")
        return "" if self._known.adds(question, vector) else "repeats another question"


def _draft(call: Call, passages: Sequence[Passage], question: str, led_to: Sequence[Passage], reason: str) -> Draft:
    return Draft(
        call=tuple(passage.id for passage in passages),
        view=call.view,
        style=call.style,
        question=question,
        passages=tuple(passage.id for passage in led_to),
        documents=tuple(passage.document_id for passage in led_to),
        dropped=reason,
    )
