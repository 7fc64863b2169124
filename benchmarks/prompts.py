"""What a shorter prompt saves the embedded LLM until its first word, and what it costs in right answers.

    make bench TABLE=prompts      BENCH_DATA: the folders nq and triviaqa; DATA_DIR: where the LLM's weights are
    BENCH_SEARCHED                dev questions of each set that are searched for, in a fixed shuffle (400)
    BENCH_QUESTIONS               how many of each set LOCAL_LLM is asked (20), by BENCH_THREADS (all cores)

A question's passages are the first five by BM25 of all of its set. The LLM is asked where one of them holds a known
answer: elsewhere there is nothing to lose. Its replies are kept in DATA_DIR/prompts.jsonl and not asked for again.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bm25s
import httpx
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from app.answering import Answer, shorten
from app.evaluating import grade
from benchmarks.machine import provenance
from distill.llm.embedded import LocalServer
from distill.prompts import answer_messages
from indexes.lexical import question_words, words_of
from indexes.paths import DataPaths
from indexes.queries import read_queries
from indexes.types import Passage, Query

SETS = ("nq", "triviaqa")
N_READ = 5
Case = tuple[Query, list[Passage]]
WAYS: Mapping[str, Callable[[str, Sequence[Passage]], list[str]]] = {
    "five passages": lambda question, passages: shorten(question, passages, 5),
    "four passages": lambda question, passages: shorten(question, passages[:4], 4),
    "three passages": lambda question, passages: shorten(question, passages[:3], 3),
    "two, and three sentences of three": lambda question, passages: shorten(question, passages, 2, 3),
    "two, and two sentences of three": lambda question, passages: shorten(question, passages, 2, 2),
    "one, and three sentences of four": lambda question, passages: shorten(question, passages, 1, 3),
    "three sentences of five": lambda question, passages: shorten(question, passages, 0, 3),
}
BASE = "five passages"
ASKED = (BASE, "two, and three sentences of three")  # of the LLM, which takes its time


def main() -> None:
    """Prints what each way leaves of the passages; then asks what was not asked yet, and prints what came of it."""
    data = Path(os.environ.get("BENCH_DATA", "../shared/data"))
    paths = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    if not all((data / name).is_dir() for name in SETS):
        sys.exit(f"Skipped: this needs the folders {' and '.join(SETS)} in {data}.")
    found = [find_passages(data / name, int(os.environ.get("BENCH_SEARCHED", "400"))) for name in SETS]
    for name, cases in zip(SETS, found, strict=True):
        show_left(name, cases)
    held = [[case for case in cases if holds(case[0], WAYS[BASE](case[0].text, case[1]))] for cases in found]
    chosen = [case for pair in zip(*held, strict=False) for case in pair][
        : 2 * int(os.environ.get("BENCH_QUESTIONS", "20"))
    ]
    if not chosen:
        return
    model, kept = os.environ.get("LOCAL_LLM", "qwen-1.5b"), paths.root / "prompts.jsonl"
    n_threads = int(os.environ.get("BENCH_THREADS", "0")) or None
    with LocalServer(model, paths.models, n_parallel=1, n_threads=n_threads) as server:
        address = server.start()
        with httpx.Client(
            timeout=1200, trust_env=False, headers={"Authorization": f"Bearer {address.api_key}"}
        ) as client:
            for case in chosen:
                ask(case, model, kept, lambda body: client.post(f"{address.base_url}/chat/completions", json=body))
    show_asked(model, kept, {query.id for query, _ in chosen})


def find_passages(folder: Path, n: int) -> list[Case]:
    """`n` dev questions with known answers, and the passages that would be read for each, best first."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [
            Passage(id=each["id"], document_id=each["id"], source="", title=each["title"], text=each["text"])
            for each in map(json.loads, lines)
        ]
    bm25 = bm25s.BM25()
    bm25.index([words_of(each.full_text) for each in texts], show_progress=False)
    queries = [query for query in read_queries(folder / "questions.jsonl.gz", "dev") if query.answers]
    random.Random(13).shuffle(queries)  # noqa: S311
    asked = [[word for word in question_words(query.text) if word in bm25.vocab_dict] for query in queries[:n]]
    best = bm25.retrieve(asked, k=N_READ, show_progress=False).documents
    return [(query, [texts[place] for place in row]) for query, row in zip(queries, best, strict=False)]


def holds(query: Query, passages: Sequence[str]) -> bool:
    """Whether one of the passages has a known answer."""
    return any(grade(query, Answer(n_passages=1, state="done", text=text)).contains for text in passages)


def show_left(name: str, cases: Sequence[Case]) -> None:
    """Prints how many words each way leaves, and for how many questions an answer."""
    table = Table(
        "", "words read", "an answer is among them", f"against {BASE}", title=f"{name}, {len(cases)} questions"
    )
    there = {way: np.array([holds(q, read(q.text, p)) for q, p in cases], float) for way, read in WAYS.items()}
    for way, read in WAYS.items():
        n_words = np.mean([sum(len(text.split()) for text in read(q.text, p)) for q, p in cases])
        table.add_row(way, f"{n_words:.0f}", f"{there[way].mean():.1%}", _difference(there[BASE], there[way]))
    Console(width=120).print(table)


def ask(case: Case, model: str, kept: Path, post: Callable[[dict[str, Any]], httpx.Response]) -> None:
    """Asks a question in each way that is not kept yet; ways that come to the same prompt share a reply."""
    query, passages = case
    known = {each["way"]: each for each in replies(kept) if (each["model"], each["id"]) == (model, query.id)}
    by_prompt: dict[tuple[str, ...], dict[str, Any]] = {}
    for way in ASKED:
        texts = tuple(WAYS[way](query.text, passages))
        record = known.get(way) or by_prompt.get(texts) or _reply(query, texts, model, post)
        by_prompt[texts] = record
        if way not in known:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record | {"way": way}) + "\n")


def _reply(
    query: Query, texts: Sequence[str], model: str, post: Callable[[dict[str, Any]], httpx.Response]
) -> dict[str, Any]:
    messages = answer_messages(query.text, texts)
    said = [{"role": "user" if each.type == "human" else each.type, "content": each.content} for each in messages]
    reply = post({"messages": said, "temperature": 0, "max_tokens": 48}).raise_for_status().json()
    text, timings = reply["choices"][0]["message"]["content"], reply["timings"]
    answer = grade(query, Answer(n_passages=N_READ, state="done", text=text))
    return {
        "model": model,
        "id": query.id,
        "reply": text,
        "right": bool(answer.contains),
        "n_tokens": reply["usage"]["prompt_tokens"],
        "n_read": timings["prompt_n"],
        "read_s": timings["prompt_ms"] / 1000,
    }


def replies(kept: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else [])


def show_asked(model: str, kept: Path, ids: set[str]) -> None:
    """Prints what each way cost and gave, and by how much it differs from all of five passages."""
    records = sorted(
        (each for each in replies(kept) if each["model"] == model and each["id"] in ids), key=lambda r: r["id"]
    )
    speed = np.median([each["n_read"] / each["read_s"] for each in records if each["n_read"] > 100])
    fixed = np.median([each["n_tokens"] - each["n_read"] for each in records if each["way"] == BASE])
    title = f"{model}, {len(ids)} questions; it read {speed:.0f} tokens a second, and {fixed:.0f} of each prompt before"
    table = Table("", "prompt, tokens", "at 60 a second, s", "right", f"against {BASE}", title=title)
    right = {way: np.array([each["right"] for each in records if each["way"] == way], float) for way in ASKED}
    for way in ASKED:
        tokens = float(np.mean([each["n_tokens"] for each in records if each["way"] == way]))
        row = (f"{tokens:.0f}", f"{(tokens - fixed) / 60:.1f}", f"{right[way].mean():.1%}")
        table.add_row(way, *row, _difference(right[BASE], right[way]))
    Console(width=120).print(table)
    print(provenance())


def _difference(a: Any, b: Any) -> str:
    """The mean difference of b to a with its 95 % interval, and for how many questions b is better and worse."""
    if not (b - a).any():
        return "the same"
    interval: Any = stats.bootstrap((b - a,), np.mean, method="percentile", random_state=13).confidence_interval
    return f"{np.mean(b - a):+.1%} ({interval.low:+.1%} to {interval.high:+.1%}), {(b > a).sum()} : {(b < a).sum()}"


if __name__ == "__main__":
    main()
