"""Questions for a corpus: read from a file, or written by the LLM."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from langchain_core.language_models import BaseChatModel

from distill.asking import ask_all
from distill.jsonl import Record, appending, read_records
from distill.prompts import question_messages
from indexes.errors import InputError
from indexes.queries import read_queries
from indexes.types import Passage, Query

HELD_OUT_SHARE = 0.2
_MIN_PASSAGE_WORDS = 25
_MAX_PASSAGE_WORDS = 220
_QUESTION_WORDS = (5, 80)
_TRIES_PER_QUESTION = 3  # passages drawn for each question wanted, as many replies are filtered out
# A question that points at its passage cannot be asked by anyone who has not got it.
_POINTS_AT_PASSAGE = re.compile(
    r"\b(?:this|the|above|following|given|provided|mentioned)\s+(?:passage|text|excerpt|paragraph|snippet|document)\b"
    r"|\b(?:document|passage|section|paragraph)\s+\d",
    re.IGNORECASE,
)


def load_questions(file: Path, *, seed: int) -> list[Query]:
    """The questions in `file`, each with the split "train" or "dev".

    A file that has splits keeps them: whatever is not "train" is held out. Otherwise a fifth is held out by lot.
    """
    return assign_splits(read_queries(file), seed=seed)


def assign_splits(queries: Sequence[Query], *, seed: int) -> list[Query]:
    """`queries` with the split "train" or "dev": the one place that decides what may train."""
    if any(query.split for query in queries):
        splits = ["train" if query.split == "train" else "dev" for query in queries]
    else:
        held_out = set(
            random.Random(seed).sample(range(len(queries)), round(HELD_OUT_SHARE * len(queries)))  # noqa: S311
        )
        splits = ["dev" if position in held_out else "train" for position in range(len(queries))]
    if "train" not in splits:
        raise InputError('At least one question to train with was expected, but none has the split "train".')
    return [_with_split(query, split) for query, split in zip(queries, splits, strict=True)]


def _with_split(query: Query, split: str) -> Query:
    return Query(
        id=query.id,
        text=query.text,
        answers=query.answers,
        positives=query.positives,
        relevance=query.relevance,
        split=split,
    )


def write_questions(
    passages: Sequence[Passage],
    llm: BaseChatModel,
    n_questions: int,
    file: Path,
    *,
    is_found: Callable[[str, Passage], bool],
    seed: int,
    on_progress: Callable[[int, int], None],
    concurrency: int = 1,
) -> list[Query]:
    """`n_questions` questions that the LLM wrote, each for one sampled passage whose document is its positive.

    `file` keeps every reply with what became of it, line by line; a second call goes on after the last one. Dropped
    are replies that are no question, point at their passage, repeat another, or do not lead back to their passage
    (`is_found`). Raises `InputError` if nothing is left.
    """
    drawn = sample_passages(passages, _TRIES_PER_QUESTION * n_questions, seed=seed)
    answered = read_records(file)
    asked = {record["passage"] for record in answered}
    kept = _kept(answered)
    waiting = [passage for passage in drawn if passage.id not in asked]
    with appending(file) as append:
        while waiting and len(kept) < n_questions:
            # Just as many as are missing: an LLM's time is the dear thing here.
            batch, waiting = waiting[: n_questions - len(kept)], waiting[n_questions - len(kept) :]
            prompts = [question_messages(_first_words(passage.text, _MAX_PASSAGE_WORDS)) for passage in batch]
            for position, reply in ask_all(llm, prompts, concurrency=concurrency):
                record = _judge_reply(reply, batch[position], {_key(r["question"]) for r in kept}, is_found)
                append(record)
                kept += _kept([record])
                on_progress(len(kept), n_questions)
    if not kept:
        raise InputError(
            f"None of the {len(asked) + len(drawn) - len(waiting)} questions that the LLM wrote could be used (see "
            f"{file}). Give questions of your own with --questions, or use a stronger LLM."
        )
    return [
        Query(id=f"w{number}", text=record["question"], positives=(record["document"],))
        for number, record in enumerate(kept[:n_questions], start=1)
    ]


def sample_passages(passages: Sequence[Passage], n: int, *, seed: int) -> list[Passage]:
    """At most `n` passages that are long enough to ask about, by lot over the whole corpus, one a document first."""
    rng = random.Random(seed)  # noqa: S311
    usable = [passage for passage in passages if len(passage.text.split()) >= _MIN_PASSAGE_WORDS] or list(passages)
    shuffled = rng.sample(usable, len(usable))
    seen: set[str] = set()
    first_of_document: list[Passage] = []
    others: list[Passage] = []
    for passage in shuffled:
        (others if passage.document_id in seen else first_of_document).append(passage)
        seen.add(passage.document_id)
    return [*first_of_document, *others][:n]


def _judge_reply(reply: str, passage: Passage, known: set[str], is_found: Callable[[str, Passage], bool]) -> Record:
    question = clean_question(reply)
    reason = _why_not(question, known) or ("" if is_found(question, passage) else "does not lead back to its passage")
    return {"passage": passage.id, "document": passage.document_id, "question": question, "dropped": reason}


def clean_question(reply: str) -> str:
    """The question in `reply`, without thinking blocks, labels, list marks and quotation marks."""
    text = re.sub(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", "", reply, flags=re.DOTALL | re.IGNORECASE)
    text = next((block for block in text.strip().split("\n\n") if block.strip()), "")
    text = re.sub(r"^\s*(?:\*\*)?(?:question|query|q)\s*\d*\s*[:.]\s*(?:\*\*)?\s*", "", text, flags=re.IGNORECASE)
    text = re.sub(r"^\s*(?:\d+[.)]|[-*])\s+", "", text)
    return " ".join(text.split()).strip("\"'“”„«» ")


def _why_not(question: str, known: set[str]) -> str:
    n_words = len(question.split())
    if not _QUESTION_WORDS[0] <= n_words <= _QUESTION_WORDS[1]:
        return f"has {n_words} words"
    if _POINTS_AT_PASSAGE.search(question):
        return "points at its passage"
    return "repeats another question" if _key(question) in known else ""


def _key(question: str) -> str:
    return " ".join(re.findall(r"\w+", question.lower()))


def _kept(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if not record["dropped"]]


def _first_words(text: str, n_words: int) -> str:
    words = text.split(" ")
    return text if len(words) <= n_words else " ".join(words[:n_words]) + " …"
