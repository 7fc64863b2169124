"""Questions for a corpus: read from a file, asked by live users, or written by the LLM (see `writing`)."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from distill.questions.filters import key_of
from indexes.errors import InputError
from indexes.queries import read_queries
from indexes.types import Query

HELD_OUT_SHARE = 0.2
FEWEST_LIKE, MOST_LIKE = 3, 20  # real questions that show the writer how the askers ask


def load_questions(file: Path, *, seed: int, asked: Sequence[Query] = ()) -> list[Query]:
    """The questions in `file`, each with the split "train" or "dev", and the live ones `asked`.

    A file that has splits keeps them: whatever is not "train" is held out. Otherwise a fifth is held out by lot.
    """
    return assign_splits(read_queries(file), seed=seed, asked=asked)


def assign_splits(
    queries: Sequence[Query],
    *,
    seed: int,
    about: Mapping[str, Sequence[str]] | None = None,
    asked: Sequence[Query] = (),
) -> list[Query]:
    """`queries` with the split "train" or "dev", then the `asked` that may train: the one place that decides it.

    `about` has the passages that a question, by its id, was written for. Without splits of their own a fifth is held
    out by lot, and two questions about the same passage, or of the same words, always stand on the same side. Nobody
    knows what answers the live questions `asked`: all of them train, but for those that repeat a held-out one.
    """
    if any(query.split for query in queries):
        held_out = {query.id for query in queries if query.split != "train"}
    else:
        held_out = _drawn(queries, about or {}, seed)
    split = [replace(query, split="dev" if query.id in held_out else "train") for query in queries]
    taken = {key_of(query.text) for query in split}
    split += [replace(query, split="train") for query in asked if key_of(query.text) not in taken]
    if not any(query.split == "train" for query in split):
        raise InputError('At least one question to train with was expected, but none has the split "train".')
    return split


def _drawn(queries: Sequence[Query], about: Mapping[str, Sequence[str]], seed: int) -> set[str]:
    """Ids of at most `HELD_OUT_SHARE` of `queries`: whole groups of those that share a passage or their words."""
    groups = _groups(queries, about)
    room = round(HELD_OUT_SHARE * len(queries))
    held_out: set[str] = set()
    for group in random.Random(seed).sample(groups, len(groups)):  # noqa: S311
        if len(held_out) + len(group) <= room:
            held_out.update(group)
    return held_out


def _groups(queries: Sequence[Query], about: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Ids of `queries`, those that are linked by what they share (union-find) in one group, in the order given."""
    parent: dict[str, str] = {}

    def root(node: str) -> str:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for query in queries:
        for shared in (f"words {key_of(query.text)}", *(f"passage {passage}" for passage in about.get(query.id, ()))):
            parent[root(shared)] = root(f"question {query.id}")
    groups: dict[str, list[str]] = {}
    for query in queries:
        groups.setdefault(root(f"question {query.id}"), []).append(query.id)
    return list(groups.values())


def read_log(file: Path) -> list[Query]:
    """The questions that live users asked, each once, from a log with a record {"question": …} a line.

    Those asked most often come first. A last line that is still being written is left out.
    """
    spelled: dict[str, str] = {}
    times: Counter[str] = Counter()
    for text in _logged(file):
        spelled.setdefault(key_of(text), text)
        times[key_of(text)] += 1
    return [Query(id=f"u{number}", text=spelled[key]) for number, (key, _) in enumerate(times.most_common(), start=1)]


def _logged(file: Path) -> list[str]:
    content = _content(file)
    lines = content.splitlines() if content.endswith("\n") else content.splitlines()[:-1]
    return [_question(line, number, file) for number, line in enumerate(lines, start=1) if line.strip()]


def read_like(file: Path, *, seed: int) -> list[str]:
    """Real questions that show how the askers ask: 3 to 20, drawn by `seed` where `file` has more of them.

    `file` has one a line, as plain text or as records {"question": …}, such as a question file or the app's log.
    """
    lines = [line.strip() for line in _content(file).splitlines() if line.strip()]
    texts = [_question(line, n, file) if line.startswith("{") else line for n, line in enumerate(lines, start=1)]
    questions = list({key_of(text): text for text in texts}.values())
    if len(questions) < FEWEST_LIKE:
        raise InputError(
            f"{FEWEST_LIKE} to {MOST_LIKE} different questions that show how people ask were expected in '{file}', "
            f"but it has {len(questions)}. Put one on each line."
        )
    if len(questions) > MOST_LIKE:
        return random.Random(seed).sample(questions, MOST_LIKE)  # noqa: S311
    return questions


def _content(file: Path) -> str:
    if not file.is_file():
        raise InputError(f"A file of questions was expected at '{file}', but there is none. Check the path.")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"'{file}' is no text in UTF-8. Save it as UTF-8, one question a line.") from error


def _question(line: str, number: int, file: Path) -> str:
    try:
        text = json.loads(line)["question"]
        if not isinstance(text, str) or not text.strip():
            raise ValueError(text)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Line {number} of '{file}' is no question. Expected one record a line: {{\"question\": …}}"
        ) from error
    return " ".join(text.split())
