"""What use by many does to the page's process over time, and how many questions a second one process serves.

    make bench TABLE=load        on a copy of DATA_DIR, which has an indexed corpus BENCH_CORPUS (stdlib)
    BENCH_MINUTES                of the soak (30; 0 for none): 20 visitors who ask and read, a file added every 10 s,
                                 one lesson after the other
    BENCH_VISITORS=1,2,5,10,20   who then ask without a pause, BENCH_SECONDS (20) each, one page and two on one DATA_DIR

The LLM is scripted, on loopback, and takes 0.3 s for an answer. What is compared are thirds and ratios of one run:
other work on the machine shows in all absolute figures.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from scripted_endpoint import Message, ScriptedEndpoint
from small_lesson import scripted_llm, write_facts

from benchmarks.machine import provenance
from benchmarks.page import ANSWER, OPENING, WORD_S, Plain, ask_plainly, cpu_of, p95, serve
from distill.run_folder import delete_run, list_runs
from indexes.corpus import Corpus
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.encoders.loading import load_encoder
from indexes.ingest import add_files
from indexes.paths import DataPaths

LESSONS = "facts"  # the small corpus that is taught
Timed = tuple[float, float]  # seconds since the epoch, milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Who does what to the page, and for how long."""

    n_visitors: int = 20
    reads_s: float = 10.0  # a visitor, on average, before the next question
    upload_s: float = 10.0  # from the beginning of one to that of the next, if it has ended by then
    duration_s: float = 1800.0
    n_least: int = 0  # answers and uploads without which it goes on longer
    teaches: bool = True


@dataclass(slots=True, kw_only=True)
class Seen:
    """What was seen of the page under a load."""

    resident: list[Timed] = field(default_factory=list)  # MiB
    descriptors: list[Timed] = field(default_factory=list)
    threads: list[Timed] = field(default_factory=list)
    waits: list[Timed] = field(default_factory=list)  # for whole answers
    searches: list[Timed] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    n_uploads: int = 0
    n_lessons: int = 0

    def thirds(self, values: Sequence[Timed], middle: Callable[[Sequence[float]], float]) -> tuple[float, float]:
        """What `middle` makes of the first third of the time and of the last."""
        start, end = self.resident[0][0], self.resident[-1][0]
        third = (end - start) / 3
        first = [value for at, value in values if start <= at <= start + third]
        last = [value for at, value in values if end - third <= at <= end]
        return middle(first or [math.nan]), middle(last or [math.nan])


def main() -> None:
    """Prints both tables."""
    source = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    corpus = os.environ.get("BENCH_CORPUS", "stdlib")
    if not source.corpus(corpus).is_dir():
        sys.exit(f"Skipped: this needs an indexed corpus '{corpus}' in {source.root}.")
    minutes, seconds = float(os.environ.get("BENCH_MINUTES", "30")), float(os.environ.get("BENCH_SECONDS", "20"))
    visitors = [int(n) for n in os.environ.get("BENCH_VISITORS", "1,2,5,10,20").split(",") if n]
    print(f"{provenance()} · load {os.getloadavg()[0]:.1f} · corpus '{corpus}'", flush=True)
    with tempfile.TemporaryDirectory() as folder, ScriptedEndpoint(reply, delay_s=WORD_S) as endpoint:
        paths = copy_of(source, corpus, Path(folder))
        setting = {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": "none", "LLM_MODEL": "scripted"}
        if minutes:
            print_soak(soak(paths, corpus, setting, Load(duration_s=minutes * 60)))
        if visitors:
            print_capacity(paths, corpus, setting, visitors, seconds)


def copy_of(source: DataPaths, corpus: str, folder: Path) -> DataPaths:
    """A data folder with a copy of the corpus, and one that is small enough to be taught."""
    paths = DataPaths(folder / "data")
    for each in ("corpora", "chroma", "encoders-onnx"):
        shutil.copytree(source.root / each, paths.root / each, ignore=lambda at, names: _others(at, names, corpus))
    (folder / "facts").mkdir()
    encoder = load_encoder(DEFAULT_ENCODER, paths)
    for name, files in ((corpus, []), (LESSONS, write_facts(folder / "facts"))):
        for _ in add_files(paths, name, files, encoder):
            pass
    return paths


def _others(at: str, names: Sequence[str], corpus: str) -> list[str]:
    return [name for name in names if Path(at).name in ("corpora", "chroma") and name != corpus]


def reply(messages: list[Message]) -> str:
    """The scripted LLM: answers, repeats a question that is to stand alone, and teaches the facts."""
    prompt = str(messages[-1]["content"])
    if "Answer, citing passages" in prompt:
        return ANSWER
    if "Last question: " in prompt:
        return prompt.partition("Last question: ")[2].partition("\n")[0]
    return scripted_llm(messages)


def questions_of(paths: DataPaths, corpus: str, n: int = 300) -> list[str]:
    """The first words of passages, drawn by a seed."""
    passages = list(Corpus.open(paths, corpus).passages())
    drawn = random.Random(1).choices(passages, k=n)  # noqa: S311 - a repeatable choice
    return ["What is said of " + " ".join(passage.text.split()[:12]) + "?" for passage in drawn]


def soak(paths: DataPaths, corpus: str, setting: dict[str, str], load: Load) -> Seen:
    """What is seen of a page of its own while the load is on it, and what its log says."""
    seen, done, log = Seen(), threading.Event(), paths.root / "page.log"
    with serve(paths, setting | {"APP_LOG_JSON": "1"}, log) as (address, process):
        page, questions = Plain(address), questions_of(paths, corpus)
        ask_plainly(page, questions[0], "first", corpus)  # what a first question loads is no growth
        people: list[Callable[[], None]] = [
            partial(_visit, page, corpus, questions, load, seen, done, n) for n in range(load.n_visitors)
        ]
        people.append(partial(_upload, page, paths, corpus, load, seen, done))
        people += [partial(_teach, page, paths, seen, done)] if load.teaches else []
        threads = [threading.Thread(target=_noting, args=(each, seen)) for each in people]
        for each in threads:
            each.start()
        until = time.time() + load.duration_s
        while time.time() < until or min(len(seen.waits), seen.n_uploads) < load.n_least:
            _look(process, seen)
            time.sleep(min(2.0, load.duration_s / 30))
        done.set()
        for each in threads:
            each.join()
    seen.n_lessons = sum(run.state == "done" for run in list_runs(paths))
    seen.errors += [f"run {run.name} {run.state}" for run in list_runs(paths) if run.state == "failed"]
    there = {each.source for each in Corpus.open(paths, corpus).sources()}
    seen.errors += [f"{name} is not there" for n in range(seen.n_uploads) if (name := f"note-{n}.md") not in there]
    for said in _read(log, seen):
        if said.get("step") == "retrieve":
            seen.searches.append((said["at"], said["seconds"] * 1e3))
    return seen


def _noting(work: Callable[[], None], seen: Seen) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        seen.errors.append(f"{type(error).__name__}: {error}"[:300])


def _look(process: psutil.Process, seen: Seen) -> None:
    now = time.time()
    seen.resident.append((now, process.memory_info().rss / 2**20))
    seen.descriptors.append((now, process.num_fds()))
    seen.threads.append((now, process.num_threads()))


def _visit(
    page: Plain, corpus: str, questions: Sequence[str], load: Load, seen: Seen, done: threading.Event, n: int
) -> None:
    draw = random.Random(n)  # noqa: S311 - a repeatable choice
    while not done.wait(draw.uniform(0, 2 * load.reads_s)):
        at, (took_ms, said) = time.time(), ask_plainly(page, draw.choice(questions), f"visitor{n}", corpus)
        seen.waits.append((at, took_ms))
        if 'role=\\"alert' in said or "answer done" not in said:
            place = said.find('role=\\"alert')
            seen.errors.append(f"no answer: {said[place : place + 400] if place >= 0 else said[-300:]}")


def _upload(page: Plain, paths: DataPaths, corpus: str, load: Load, seen: Seen, done: threading.Event) -> None:
    draw = random.Random(0)  # noqa: S311 - a repeatable choice
    began = 0.0
    while not done.wait(max(0.1, began + load.upload_s - time.time())):
        began, name = time.time(), f"note-{seen.n_uploads}.md"
        text = "\n\n".join(f"Fact {draw.randrange(10**9)} of {name} is noted here at length." for _ in range(60))
        page.press(OPENING, {}, "uploader")
        given = {"add-files": [page.hand_in(name, text.encode())], "add-corpus": corpus, "add-addresses": ""}
        if "Taken over" in "".join(page.press("add-button", given, "uploader")):
            seen.n_uploads += 1
        else:
            seen.errors.append(f"{name} was not taken over")
        while any(paths.uploads.glob("*")):
            time.sleep(0.1)


def _teach(page: Plain, paths: DataPaths, seen: Seen, done: threading.Event) -> None:
    given = {"corpus": LESSONS, "teach-n": 10, "teach-train": "query"}
    while not done.is_set():
        page.press(OPENING, {}, "teacher")
        if "has begun" not in "".join(page.press("teach-button", given, "teacher")):
            seen.errors.append("no lesson has begun")
        while going := [run.name for run in list_runs(paths) if run.is_going_on]:
            if done.wait(1):
                delete_run(paths, going[0], ends=True)


def _read(log: Path, seen: Seen) -> Iterator[dict[str, Any]]:
    """The records of the page's log; what it says of errors is one."""
    for line in log.read_text(encoding="utf-8").splitlines():
        said = json.loads(line) if line.startswith("{") else {}
        if said.get("level") in ("ERROR", "CRITICAL") or "Traceback" in line:
            seen.errors.append(line[:300])
        if "time" in said:
            yield said | {"at": datetime.strptime(said["time"], "%Y-%m-%d %H:%M:%S,%f").timestamp()}


def print_soak(seen: Seen) -> None:
    minutes = (seen.resident[-1][0] - seen.resident[0][0]) / 60
    did = (
        f"{len(seen.waits):,} questions, {seen.n_uploads} uploads, {seen.n_lessons} lessons, {len(seen.errors)} errors"
    )
    table = Table("", "first third", "last third", "×", title=f"{minutes:.0f} minutes: {did}")
    rows = {
        "resident memory, MiB (median)": seen.thirds(seen.resident, statistics.median),
        "resident memory, MiB (most)": seen.thirds(seen.resident, max),
        "descriptors (median)": seen.thirds(seen.descriptors, statistics.median),
        "threads (median)": seen.thirds(seen.threads, statistics.median),
        "retrieval, ms (p50)": seen.thirds(seen.searches, statistics.median),
        "retrieval, ms (p95)": seen.thirds(seen.searches, p95),
        "whole answer, ms (p50)": seen.thirds(seen.waits, statistics.median),
        "whole answer, ms (p95)": seen.thirds(seen.waits, p95),
    }
    for name, (first, last) in rows.items():
        table.add_row(name, f"{first:,.0f}", f"{last:,.0f}", f"{last / first:.2f}")
    Console(width=100).print(table)
    for each in seen.errors[:20]:
        print(each)


def print_capacity(
    paths: DataPaths, corpus: str, setting: dict[str, str], visitors: Sequence[int], seconds: float
) -> None:
    """Prints questions a second by visitors, with one page and with two on one data folder."""
    columns = ("pages", "visitors", "questions a second", "× one visitor", "whole answer, ms (p50)", "(p95)")
    table = Table(*columns, "processor of the pages, ms a question", title=f"Visitors who never pause, {seconds:.0f} s")
    alone = 0.0
    for n_pages in (1, 2):
        with ExitStack() as opened:
            served = [opened.enter_context(serve(paths, setting)) for _ in range(n_pages)]
            pages, processes = [Plain(address) for address, _ in served], [process for _, process in served]
            for page in pages:  # the encoder and the index are read at the first question
                ask_plainly(page, "What is said of files?", "first", corpus)
            for n in visitors:
                before = sum(map(cpu_of, processes))
                waits, took_s = _ask_without_pause(pages, corpus, questions_of(paths, corpus), n, seconds)
                rate = len(waits) / took_s
                alone = alone or rate
                cpu_ms = (sum(map(cpu_of, processes)) - before) / len(waits)
                figures = (f"{statistics.median(waits):,.0f}", f"{p95(waits):,.0f}", f"{cpu_ms:.0f}")
                table.add_row(str(n_pages), str(n), f"{rate:.1f}", f"{rate / alone:.1f}", *figures)
    Console(width=120).print(table)


def _ask_without_pause(
    pages: Sequence[Plain], corpus: str, questions: Sequence[str], n_visitors: int, seconds: float
) -> tuple[list[float], float]:
    """Milliseconds of each answer, and the seconds that all took."""
    waits: list[float] = []
    started = time.perf_counter()

    def ask(n: int) -> None:
        draw, page = random.Random(n), pages[n % len(pages)]  # noqa: S311 - a repeatable choice
        while time.perf_counter() - started < seconds:
            session = f"{n}-{len(waits)}-{draw.random()}"  # a conversation's second question would be rewritten first
            waits.append(ask_plainly(page, draw.choice(questions), session, corpus)[0])

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(n_visitors)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return waits, time.perf_counter() - started


if __name__ == "__main__":
    main()
