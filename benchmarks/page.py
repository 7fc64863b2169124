"""What the page adds to the endpoint: load, first passage, first word, whole answer, and twenty visitors at once.

    make bench TABLE=page         on a corpus of DATA_DIR (BENCH_CORPUS, obliqa) that is indexed already
    BENCH_DATA, BENCH_SET         where its questions are; BENCH_QUESTIONS is how many are asked (30)
    BENCH_LLM=local               asks the embedded LLM too (LOCAL_LLM, its weights in DATA_DIR), 3 questions

`python -m app` runs as a person starts it, headless Chromium looks at its Ask tab, and what is timed is what stands on
the page. The scripted endpoint is asked directly before each question: the difference is retrieval + page.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from scripted_endpoint import ScriptedEndpoint

from benchmarks.machine import provenance
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.paths import DataPaths
from indexes.queries import read_queries

N_LOADS, N_VISITORS, N_LOCAL = 5, 20, 3
ANSWER = "The firm must keep such records for six years [1] and show them when it is asked [2]. " * 4  # 68 words
WORD_S = 0.005
PATIENCE_MS = 600_000
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
OPENING = "the page is opened"  # the event that stands for it
Marks = Mapping[str, float]
# Notes on the browser's own clock when each thing first stands on the page.
WATCH = """
window.seen = {};
const look = () => {
  const box = document.querySelector('#ask-question textarea, #ask-question input');
  const corpus = document.querySelector('#corpus input');
  const mark = (name, there) => { if (there && !(name in window.seen)) window.seen[name] = performance.now(); };
  mark('usable', box && corpus && corpus.value && document.querySelector('#ask-retriever input'));
  if (!('asked' in window.seen)) return;
  mark('passage', document.querySelector('#ask-passages details'));
  mark('word', document.querySelector('#ask-answer .answer .text'));
  mark('done', document.querySelector('#ask-answer .answer.done'));
  const button = document.querySelector('#ask-button');
  mark('free', 'done' in window.seen && button && !button.disabled);
  mark('failed', document.querySelector('#ask-answer [role=alert]'));
};
document.addEventListener('keydown', event => {
  if (event.key === 'Enter') window.seen = {asked: performance.now()};
}, true);
new MutationObserver(look).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
document.addEventListener('input', look, true);
setInterval(look, 5);
"""


def main() -> None:
    """Prints the tables."""
    folder = Path(os.environ.get("BENCH_DATA", "../shared/data")) / os.environ.get("BENCH_SET", "obliqa")
    paths = DataPaths(Path(os.environ.get("DATA_DIR", "data")))
    corpus = os.environ.get("BENCH_CORPUS", "obliqa")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not folder.is_dir() or not paths.corpus(corpus).is_dir():
        sys.exit(f"Skipped: this needs questions in {folder} and an indexed corpus '{corpus}' in {paths.root}.")
    if chromium is None:
        sys.exit("Skipped: there is no Chromium on this machine.")
    wanted = int(os.environ.get("BENCH_QUESTIONS", "30"))
    questions = [query.text for query in read_queries(folder / "questions.jsonl.gz", "dev")][:wanted]
    link = "?" + urlencode({"corpus": corpus, "retriever": DEFAULT_ENCODER})
    print(f"{provenance()} · load {os.getloadavg()[0]:.1f} · corpus '{corpus}'", flush=True)
    with ScriptedEndpoint(lambda messages: ANSWER, delay_s=WORD_S) as endpoint:
        setting = {"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": "none", "LLM_MODEL": "scripted"}
        with serve(paths, setting) as (address, process), browse(chromium, address + link) as page:
            ask(page, questions[0])  # the encoder and the index are read at the first question
            cpu = cpu_of(process)
            loads = [load(page) for _ in range(N_LOADS)]
            cpus = [(cpu_of(process) - cpu) / N_LOADS]
            cpu = cpu_of(process)
            pairs = [(ask_directly(endpoint, question), ask(page, question)) for question in questions]
            cpus.append((cpu_of(process) - cpu) / len(questions))
            print_endpoint_table(loads, pairs, cpus)
            print_visitors(address, corpus, questions)
    if os.environ.get("BENCH_LLM") == "local":
        with serve(paths, {}) as (address, _), browse(chromium, address + link) as page:
            ask(page, questions[0])  # its server starts at the first question
            print_local_table([ask(page, question) for question in questions[1 : 1 + N_LOCAL]])


@contextmanager
def serve(
    paths: DataPaths, setting: Mapping[str, str], log: Path | None = None
) -> Iterator[tuple[str, psutil.Process]]:
    """The address of a page with these settings of its LLM, and its process, which writes to `log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    plain = {name: each for name, each in os.environ.items() if not name.startswith(("APP_", "OPENAI_", "LLM_"))}
    own = {"DATA_DIR": str(paths.root), "APP_PORT": str(port), "APP_DEMO": "0"}
    with log.open("wb") if log else tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "app"]
        child = subprocess.Popen(command, env={**plain, **own, **setting}, stderr=said, stdout=said)  # noqa: S603
        try:
            address = f"http://127.0.0.1:{port}/"
            while not _is_up(address):
                assert child.poll() is None, "the page ended by itself"
                time.sleep(0.2)
            yield address, psutil.Process(child.pid)
        finally:
            child.terminate()
            child.wait(60)


def _is_up(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False, timeout=10).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def browse(chromium: str, address: str) -> Iterator[Page]:
    """A page that notes when things stand on it, loaded once."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script(WATCH)
        page.goto(address)
        page.wait_for_function("'usable' in window.seen")
        yield page
        browser.close()


def load(page: Page) -> float:
    """Milliseconds until a question can be typed and the corpus and the retriever are there."""
    page.reload()
    page.wait_for_function("'usable' in window.seen")
    return float(page.evaluate("window.seen.usable"))


def ask(page: Page, question: str) -> Marks:
    """Milliseconds from Enter to the first passage, the first word, the whole answer, and the button's return."""
    fresh = page.locator("#ask-fresh")
    if fresh.is_visible():  # else it would be a follow-up
        fresh.click()
    page.wait_for_function("!document.querySelector('#ask-passages details, #ask-answer .answer')")
    page.locator("#ask-question").locator("textarea, input").first.fill(question)
    page.keyboard.press("Enter")
    page.wait_for_function("'free' in window.seen || 'failed' in window.seen")
    page.wait_for_timeout(100)
    seen = page.evaluate("window.seen")
    assert "failed" not in seen, page.locator("#ask-answer").inner_text()
    return {name: seen[name] - seen["asked"] for name in ("passage", "word", "done", "free")}


def ask_directly(endpoint: ScriptedEndpoint, question: str) -> Marks:
    """Milliseconds that the endpoint itself takes to its first word and to its end."""
    body = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": question}]}
    started, marks = time.perf_counter(), {}
    with httpx.stream("POST", f"{endpoint.base_url}/chat/completions", json=body, trust_env=False) as stream:
        for line in stream.iter_lines():
            if "word" not in marks and '"content": "The' in line:
                marks["word"] = (time.perf_counter() - started) * 1e3
    return marks | {"done": (time.perf_counter() - started) * 1e3}


def cpu_of(process: psutil.Process) -> float:
    """Milliseconds of the processor that the page's process has used."""
    times = process.cpu_times()
    return float(times.user + times.system) * 1e3


def print_endpoint_table(loads: Sequence[float], pairs: Sequence[tuple[Marks, Marks]], cpus: Sequence[float]) -> None:
    table = Table("milliseconds", "median", "p95", title=f"Ask tab, scripted endpoint, {len(pairs)} questions")
    rows = {
        "page load to usable": list(loads),
        "Enter to first passage": [asked["passage"] for _, asked in pairs],
        "Enter to first word": [asked["word"] for _, asked in pairs],
        "Enter to whole answer": [asked["done"] for _, asked in pairs],
        "the endpoint alone, first word": [direct["word"] for direct, _ in pairs],
        "the endpoint alone, whole answer": [direct["done"] for direct, _ in pairs],
        "retrieval + page, first word": [asked["word"] - direct["word"] for direct, asked in pairs],
        "retrieval + page, whole answer": [asked["done"] - direct["done"] for direct, asked in pairs],
    }
    for name, values in rows.items():
        table.add_row(name, f"{statistics.median(values):.0f}", f"{p95(values):.0f}")
    for what, cpu in zip(("load", "question"), cpus, strict=True):
        table.add_row(f"processor time of the page, a {what}", f"{cpu:.0f}", "")
    Console(width=100).print(table)


def print_local_table(asked: Sequence[Marks]) -> None:
    table = Table("milliseconds", "median", "most", title=f"Ask tab, embedded LLM, {len(asked)} questions")
    for name, what in (("passage", "first passage"), ("word", "first word"), ("done", "whole answer")):
        values = [marks[name] for marks in asked]
        table.add_row(f"Enter to {what}", f"{statistics.median(values):,.0f}", f"{max(values):,.0f}")
    Console(width=100).print(table)


def p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def print_visitors(address: str, corpus: str, questions: Sequence[str]) -> None:
    """Prints how long answers take one visitor alone, and twenty who ask at the same moment."""
    page = Plain(address)
    alone = [ask_plainly(page, question, f"alone{n}", corpus)[0] for n, question in enumerate(questions[:5])]
    sessions = [(questions[n % len(questions)], f"visitor{n}") for n in range(N_VISITORS)]
    started = time.perf_counter()
    with ThreadPoolExecutor(N_VISITORS) as pool:
        waits = list(pool.map(lambda each: ask_plainly(page, each[0], each[1], corpus)[0], sessions))
    wall = (time.perf_counter() - started) * 1e3
    print(
        f"{N_VISITORS} visitors at once: all answered within {wall:,.0f} ms, median {statistics.median(waits):,.0f}, "
        f"p95 {p95(waits):,.0f}; one alone {statistics.median(alone):,.0f} "
        f"(× {statistics.median(waits) / statistics.median(alone):.1f})"
    )


class Plain:
    """The page at `address` without a browser: its events by the buttons that begin them."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._http = httpx.Client(trust_env=False, timeout=600, limits=httpx.Limits(max_connections=None))
        config = self._http.get(f"{address}config").json()
        self._components = {each["id"]: each["props"] for each in config["components"]}
        (corpus,) = (key for key, props in self._components.items() if props.get("elem_id") == "corpus")
        self._events: dict[str, dict[str, Any]] = {}
        for event in config["dependencies"]:
            for element, what in event["targets"]:
                if what == "click":
                    self._events[self._components[element].get("elem_id")] = event
                elif what == "load" and corpus in event["outputs"]:
                    self._events[OPENING] = event

    def press(self, button: str, given: Mapping[str, Any], session: str) -> list[str]:
        """What the page sends to whoever presses `button`, until it is done; `given` are values by their element.

        Who has not opened the page before (`OPENING`) is offered no corpus to pick.
        """
        event = self._events[button]
        props = [self._components[each] for each in event["inputs"]]
        body = {
            "data": [given.get(each.get("elem_id"), each.get("value")) for each in props],
            "fn_index": event["id"],
            "session_hash": session,
        }
        self._http.post(f"{self.address}gradio_api/queue/join", json=body).raise_for_status()
        said = []
        with self._http.stream(
            "GET", f"{self.address}gradio_api/queue/data", params={"session_hash": session}
        ) as stream:
            for line in stream.iter_lines():
                said += [line] if line.startswith("data:") else []
                message = json.loads(line[5:]) if said and line else {}
                if message.get("msg") == "process_completed":
                    assert message["success"], message
                    return said
        raise AssertionError("the page did not come to an end")

    def hand_in(self, name: str, content: bytes) -> dict[str, Any]:
        """A file as a file's element takes it."""
        reply = self._http.post(f"{self.address}gradio_api/upload", files={"files": (name, content)})
        return {"path": reply.raise_for_status().json()[0], "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def ask_plainly(page: Plain, question: str, session: str, corpus: str | None = None) -> tuple[float, str]:
    """Milliseconds to the whole answer, and all that was said until then."""
    page.press(OPENING, {}, session)
    started = time.perf_counter()
    said = page.press("ask-button", {"ask-question": question, "corpus": corpus}, session)
    return (time.perf_counter() - started) * 1e3, "".join(said)


if __name__ == "__main__":
    main()
