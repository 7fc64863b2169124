"""Questions that the LLM writes for the passages of a corpus, in the askers' own way where that is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from distill.jsonl import Append, Record, appending, read_records
from distill.llm.asking import Asker, ask_all
from distill.questions.calls import Call, Prompts, alike_in_a_row, passages_of, plan_calls
from distill.questions.filters import Form, KnownQuestions, form_of, questions_in, style_of, why_useless
from distill.questions.prompts import STYLES, Style
from distill.questions.topics import Topics
from indexes.errors import InputError
from indexes.types import Candidate, Passage, Query, Vectors

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

    `file` keeps every question with what became of it: {"call": ids of the passages asked about, "view", "style",
    "question", "passages": those of them that it finds, "documents": theirs, "dropped": why, or ""}. A second
    call goes on after the last one. Dropped are replies that are no question, point at their passage, repeat another
    question, or do not lead back to a passage they were written for. Raises `InputError` if nothing is left.
    """
    records = read_records(file)
    writer = _Writer(config, corpus, Topics(passage.text for passage in passages), _kept(records), seed)
    calls = plan_calls(
        passages,
        config.styles or tuple(style_of(question) for question in config.like) or ("question",),
        pair_share=config.pair_share,
        topic_share=config.topic_share,
        asked={record["call"][0] for record in records},
        seed=seed,
    )
    n_left = _TRIES_PER_QUESTION * config.n_questions - len({tuple(record["call"]) for record in records})
    with appending(file) as append:
        while calls and n_left > 0 and writer.n_missing > 0:
            # Just as many as are missing: an LLM's time is the dear thing here.
            n = min(-(-writer.n_missing // config.n_per_call), n_left)
            wave, calls, n_left = calls[:n], calls[n:], n_left - n
            for record in writer.asked(wave, asker, append):
                records.append(record)
                on_progress(min(len(writer.kept), config.n_questions), config.n_questions)
    if not writer.kept:
        reasons = Counter(record["dropped"] for record in records).most_common(1)
        most = f"; most often: {reasons[0][0]}" if reasons else ""
        raise InputError(
            f"None of the {len(records)} questions that the LLM wrote could be used{most} (see {file}). Give questions "
            "of your own with --questions, or use a stronger LLM."
        )
    return _as_written(writer.kept[: config.n_questions])


def _kept(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if not record["dropped"]]


def _as_written(records: Sequence[Record]) -> Written:
    ids = [f"w{number}" for number in range(1, len(records) + 1)]
    queries = [
        Query(id=identifier, text=record["question"], positives=tuple(dict.fromkeys(record["documents"])))
        for identifier, record in zip(ids, records, strict=True)
    ]
    return Written(queries, {i: tuple(record["call"]) for i, record in zip(ids, records, strict=True)})


class _Writer:
    """Asks, judges, and knows what has been kept."""

    def __init__(
        self, config: WritingConfig, corpus: Surroundings, topics: Topics, kept: list[Record], seed: int
    ) -> None:
        self.kept = kept
        self._config = config
        self._corpus = corpus
        like = {style: [q for q in config.like if style_of(q) == style] for style in STYLES}
        self._forms = {style: form_of(style, like[style]) for style in STYLES}
        self._prompts = Prompts(topics, config.like, corpus.find, n_per_call=config.n_per_call, seed=seed)
        known = [*config.like, *(record["question"] for record in kept)]
        self._known = KnownQuestions(known, corpus.embed(known) if known else [])

    @property
    def n_missing(self) -> int:
        return self._config.n_questions - len(self.kept)

    def asked(self, calls: Sequence[Call], asker: Asker, append: Append) -> Iterator[Record]:
        """The judged questions of `calls`, as the replies come; what came before a failure is kept in the file."""
        calls = alike_in_a_row(calls)
        shown = [passages_of(call, self._corpus.neighbours) for call in calls]
        prompts = [
            self._prompts.messages(call, passages, place)
            for place, (call, passages) in enumerate(zip(calls, shown, strict=True), start=len(self.kept))
        ]
        waiting: list[tuple[Call, list[Passage], str]] = []

        def judged() -> list[Record]:
            records = self._judge(waiting)
            waiting.clear()
            for record in records:
                append(record)
            return records

        try:
            for position, reply in ask_all(asker, prompts):
                waiting.append((calls[position], shown[position], reply))
                if len(waiting) >= _JUDGED_AT_ONCE:
                    yield from judged()
        except BaseException:
            judged()
            raise
        yield from judged()

    def _judge(self, replies: Sequence[tuple[Call, list[Passage], str]]) -> list[Record]:
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
            records.append(_record(call, passages, question, led_to, reason))
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


def _record(call: Call, passages: Sequence[Passage], question: str, led_to: Sequence[Passage], reason: str) -> Record:
    return {
        "call": [passage.id for passage in passages],
        "view": call.view,
        "style": call.style,
        "question": question,
        "passages": [passage.id for passage in led_to],
        "documents": [passage.document_id for passage in led_to],
        "dropped": reason,
    }
