"""Kills processes at random moments, or fills their disk, and lets them go on: nothing may be lost, doubled or paid
twice, and what comes out is what an undisturbed one leaves.

python -m benchmarks.kills [KILLS PART …]: so many (20) of each part: `add`, a `run` in each of its stages, the work of
the `page` with uploads under way, a `job` of the page, and the child that serves the `embedded` LLM; of `disk` as many
full ones. Encoders are tiny, the LLM is scripted and counts what it serves; the embedded one is
real. Prints a line of JSON for each part; the exit status is 1 where anything is not as it would have been.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other in tiny models stall
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import psutil
from fakes import KeywordEncoder
from scripted_endpoint import Message, ScriptedEndpoint
from small_lesson import FACTS, scripted_llm, write_facts

from app.jobs.jobs import Jobs, arguments_of
from distill.json_files import read_json
from distill.run_config import STAGES, RunConfig, Stage, settings_text
from distill.run_folder import JOB, LOG, METRICS, PROGRESS, REPORT, SETTINGS, SPEND, Job, RunFolder
from indexes.corpus import Corpus
from indexes.doctor import examine
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths

_SEED = 7
_CORPUS, _RUN = "facts", "taught"
_LLM = {"OPENAI_API_KEY": "sk-test", "LLM_MODEL": "scripted"}
_PATIENCE_S = 900.0


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of a part: `kills` by what was being done, and in what the end differs from an undisturbed one's."""

    part: str
    kills: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    paid_twice: int = 0
    uncounted: int = 0  # replies that are not in the run's spend
    differs: set[str] = field(default_factory=set)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is lost or doubled, all is equal, and no more was paid twice than can be under way."""
        most = _AT_ONCE * self.kills.total()
        return not (self.lost or self.doubled or self.differs) and max(self.paid_twice, self.uncounted) <= most

    def told(self) -> str:
        """A line of JSON."""
        counts = {name: getattr(self, name) for name in ("part", "kills", "lost", "doubled", "paid_twice", "uncounted")}
        return json.dumps(
            {"n": self.kills.total(), **counts, "equal": not self.differs, "differs": sorted(self.differs)}
        )


_AT_ONCE = 8  # requests of a run
_FORKS = multiprocessing.get_context("forkserver")
_PRELOADED = [
    *("fakes", "scripted_endpoint", "small_lesson", "chromadb", "langchain_openai", "indexes.doctor", "app.jobs.jobs"),
    *("distill.__main__", "distill.pipeline", "distill.llm.wire"),
]
_OF_TEACHING = [
    *("tiny_encoders", "sentence_transformers", "datasets", "accelerate", "onnxruntime", "scipy.optimize", "bm25s"),
    *("distill.retriever.training", "distill.ranker.training", "distill.verdict.report", "app.__main__"),
]


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process that does this, with everything imported already."""
    process = _FORKS.Process(target=_begin, args=(target, *arguments))
    process.start()
    return process


def _begin(target: Callable[..., None], *arguments: Any) -> None:
    gc.freeze()  # what was imported need not be looked through whenever a stage has ended
    target(*arguments)


def finish(process: BaseProcess, log: Path | None = None) -> None:
    """Waits for its end, which has to be a good one."""
    process.join(_PATIENCE_S)
    if process.exitcode:
        raise SystemExit(f"It ended with {process.exitcode}: {log.read_text(errors='replace')[-3000:] if log else ''}")


def kill(
    process: BaseProcess, doing: Callable[[], str], wanted: Container[str], within_s: float, draw: random.Random
) -> str:
    """What the process did when it was killed, at a random moment once it did what is wanted; "" if it had ended."""
    _wait_for(process, doing, wanted)
    time.sleep(draw.random() * within_s)
    process.kill()
    process.join()
    return (doing() or "starting") if process.exitcode == -signal.SIGKILL else ""


def _wait_for(process: BaseProcess, doing: Callable[[], str], wanted: Container[str]) -> None:
    while process.is_alive() and doing() not in wanted:
        time.sleep(0.005)


def compare(alone: DataPaths, other: DataPaths, corpus: str, tally: Tally) -> None:
    """Counts passages that are not in `other` as in `alone`; names whatever else differs: vectors, files of results."""
    (before, its_vectors), (after, vectors) = _contents(alone, corpus), _contents(other, corpus)
    tally.lost += (before - after).total()
    tally.doubled += (after - before).total()
    tally.differs |= {"vectors"} if its_vectors != vectors else set()
    # A lexical index that was half written is swept by the doctor alone, and in nobody's way.
    kinds = {finding.kind for finding in examine(other, corpus)} - {"stale lexical index"}
    tally.differs |= {f"{corpus}: {kind}" for kind in kinds}
    known, found = (dict(pair for folder in (p.runs, p.encoders) for pair in _results(folder)) for p in (alone, other))
    tally.differs |= {file for file in known.keys() | found.keys() if known.get(file) != found.get(file)}


def _contents(paths: DataPaths, corpus: str) -> tuple[Counter[tuple[str, ...]], list[tuple[str, ...]]]:
    """The passages of a corpus, as often as they are there, and its vectors."""
    with Corpus.open(paths, corpus).connect() as connection:
        passages = connection.execute("SELECT source, title, text FROM passages").fetchall()
        vectors = connection.execute("SELECT fingerprint, hex(content), hex(vector) FROM vectors ORDER BY 1, 2")
        return Counter(map(tuple, passages)), list(map(tuple, vectors))


# Files that tell how it went, not what came of it; the report says what the metrics hold.
_OF_A_PROCESS = {PROGRESS, LOG, JOB, SPEND, REPORT, "lock", "teaching.lock", "losses.jsonl"}


def _results(folder: Path) -> Iterator[tuple[str, object]]:
    """The files under `folder` by name, with what is in them: records of many requests in no order."""
    for file in sorted(each for each in folder.rglob("*") if each.is_file() and each.name not in _OF_A_PROCESS):
        content: object = file.read_bytes()
        if file.suffix == ".jsonl":
            content = sorted(file.read_bytes().splitlines())
        elif file.name == METRICS:
            content = json.loads(file.read_bytes()) | {"spend": "as it went", "commit": "of the code"}
        yield f"{folder.name}/{file.relative_to(folder)}", content


# --- adding ---

_N_FILES, _N_RECORDS = 12, 40


def _add(paths: DataPaths, folder: Path) -> None:
    for event in add_files(paths, _CORPUS, [folder], KeywordEncoder(dimension=16), sync=True):
        (paths.root / "doing").write_text(event.stage)


def kill_adds(place: Path, n_kills: int, draw: random.Random) -> Tally:
    """Changes some files and adds the folder, again and again; every fifth time it may end."""
    tally, folder, paths = Tally(part="add"), place / "files", DataPaths(place / "data")
    folder.mkdir()
    for number in range(_N_FILES):
        _write(folder / f"{number}.jsonl", draw)

    def doing() -> str:
        with suppress(OSError):
            return (paths.root / "doing").read_text()
        return ""

    began = time.monotonic()
    finish(start(_add, paths, folder))
    whole_s = time.monotonic() - began
    for number in range(2 * n_kills):
        if tally.kills.total() == n_kills:
            break
        _change(folder, draw)
        (paths.root / "doing").unlink(missing_ok=True)
        # Mostly while vectors are written, which is a small part of the time.
        if what := kill(
            start(_add, paths, folder), doing, {"embedding"} if number % 4 else {"", "reading"}, whole_s / 2, draw
        ):
            tally.kills[what] += 1
        if number % 5 == 4 or tally.kills.total() == n_kills:
            finish(start(_add, paths, folder))
            alone = DataPaths(place / f"alone-{number}")
            finish(start(_add, alone, folder))
            compare(alone, paths, _CORPUS, tally)
            tally.lost += _not_found(paths)
    return tally


def _not_found(paths: DataPaths) -> int:
    """How many passages their index does not find by their own vectors."""
    index = PassageIndex.open(paths, _CORPUS, KeywordEncoder(dimension=16))
    vectors = index.vectors([passage.id for passage in Corpus.open(paths, _CORPUS).passages()])
    return sum(found[0].score < 0.99 for found in index.search_vectors(vectors, 1))


def _write(file: Path, draw: random.Random) -> None:
    records = [{"text": f"Fact {draw.randrange(10**9)} of {file.stem}."} for _ in range(_N_RECORDS)]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def _change(folder: Path, draw: random.Random) -> None:
    """Rewrites three files, renames one and takes one away or brings it back."""
    files = sorted(folder.iterdir())
    for file in draw.sample(files, 3):
        _write(file, draw)
    draw.choice(files).rename(folder / f"{draw.randrange(10**6)}.jsonl")
    if len(files) > _N_FILES // 2:
        draw.choice(sorted(folder.iterdir())).unlink()
    else:
        _write(folder / f"{draw.randrange(10**6)}.jsonl", draw)


# --- teaching ---


def _prepare(paths: DataPaths, place: Path) -> None:
    """A small corpus, a tiny encoder, and the settings of a run."""
    from tiny_encoders import WORDS, tiny_transformer

    from indexes.encoders.loading import load_encoder

    words = [*WORDS, *sorted({word for fact in FACTS.values() for word in fact.lower().split()})]
    tiny_transformer(place, words=words).save_pretrained(str(paths.encoder("tiny")), create_model_card=False)
    for _ in add_files(paths, _CORPUS, sorted(write_facts(place)), load_encoder("tiny", paths)):
        pass
    paths.run(_RUN).mkdir(parents=True)
    (paths.run(_RUN) / SETTINGS).write_text(settings_text(_CONFIG))


_CONFIG = RunConfig(name=_RUN, corpus=_CORPUS, base="tiny", n_written=12, n_candidates=4, insist=True)


def _distil(paths: DataPaths, base_url: str, log: Path) -> None:
    """The command that the page gives."""
    from distill.__main__ import app
    from indexes.commands import run_command_line

    _say_into(log)
    os.environ.update(_LLM, OPENAI_BASE_URL=base_url)
    run_command_line(app, ["run", *arguments_of(paths.run(_RUN), paths.root)])


def _say_into(log: Path) -> None:
    with log.open("ab") as opened:
        os.dup2(opened.fileno(), 1)
        os.dup2(opened.fileno(), 2)


def _slow_llm(messages: list[Message]) -> str:
    """The scripted LLM after up to 20 ms, so that replies come in another order than they were asked for."""
    time.sleep(hashlib.blake2b(str(messages).encode(), digest_size=1).digest()[0] / 256 / 50)
    return scripted_llm(messages)


def _asked(endpoint: ScriptedEndpoint) -> Counter[str]:
    """How often each prompt was answered; what asks whether the LLM is there is no work."""
    return Counter({text: n for text, n in endpoint.served.items() if "Reply with OK" not in text})


@dataclass(slots=True, kw_only=True)
class Lesson:
    """A run: as it is `prepared`, as it ends when left `alone`, how long each stage took, and what was `asked`."""

    prepared: DataPaths
    alone: DataPaths
    endpoint: ScriptedEndpoint
    log: Path
    seconds: Mapping[str, float]
    asked: Counter[str]

    def begin(self, root: Path) -> DataPaths:
        """A copy of what is prepared, and the count of requests at nothing."""
        self.endpoint.served.clear()
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.prepared.root, root)
        return DataPaths(root)

    def start(self, paths: DataPaths) -> tuple[BaseProcess, Callable[[], str]]:
        """The process of the run, and what tells its stage."""
        (paths.run(_RUN) / PROGRESS).unlink(missing_ok=True)
        process = start(_distil, paths, self.endpoint.base_url, self.log)
        return process, lambda: RunFolder(paths.run(_RUN)).progress.stage

    def end(self, paths: DataPaths, tally: Tally) -> None:
        """Lets the run end, and compares."""
        finish(self.start(paths)[0], self.log)
        tally.paid_twice += (_asked(self.endpoint) - self.asked).total()
        tally.uncounted += self.endpoint.served.total() - read_json(paths.run(_RUN) / SPEND)["calls"]
        compare(self.alone, paths, _CORPUS, tally)


@contextmanager
def _lesson(place: Path) -> Iterator[Lesson]:
    prepared, alone, log = DataPaths(place / "prepared"), DataPaths(place / "alone"), place / "log"
    (place / "texts").mkdir()
    finish(start(_prepare, prepared, place / "texts"))
    shutil.copytree(prepared.root, alone.root)
    with ScriptedEndpoint(_slow_llm) as endpoint:
        finish(start(_distil, alone, endpoint.base_url, log), log)
        stages = json.loads((alone.run(_RUN) / PROGRESS).read_text())["stages"]
        seconds = {stage: each["ended"] - each["began"] for stage, each in stages.items()}
        yield Lesson(
            prepared=prepared, alone=alone, endpoint=endpoint, log=log, seconds=seconds, asked=_asked(endpoint)
        )


def _from(stage: Stage) -> Container[str]:
    """This stage and those after it, where it may have been too short to be seen."""
    return STAGES[STAGES.index(stage) :]


def kill_runs(place: Path, n_kills: int, draw: random.Random) -> Tally:
    """Runs, each killed once in every stage."""
    tally = Tally(part="run")
    with _lesson(place) as lesson:
        for first in range(0, n_kills, len(STAGES)):
            paths = lesson.begin(place / "killed")
            for stage in STAGES[: n_kills - first]:
                process, doing = lesson.start(paths)
                if what := kill(process, doing, _from(stage), lesson.seconds[stage], draw):
                    tally.kills[what] += 1
            lesson.end(paths, tally)
    return tally


def fill_disks(place: Path, n: int, draw: random.Random) -> Tally:
    """A run whose disk fills up in every stage: a sentence each time, and once there is space the same end."""
    tally, disk = Tally(part="disk"), place / "disk"
    disk.mkdir()
    with _lesson(place) as lesson, _small_disk(disk):
        for _ in range(0, n, len(STAGES)):
            paths = lesson.begin(disk / "data")
            for stage in STAGES:
                process, doing = lesson.start(paths)
                _wait_for(process, doing, _from(stage))
                time.sleep(draw.random() * lesson.seconds[stage] / 2)
                before = lesson.log.stat().st_size
                with suppress(OSError), (disk / "films").open("wb", buffering=0) as films:
                    while True:
                        films.write(b"0" * 4096)
                process.join(_PATIENCE_S)
                (disk / "films").unlink()
                said = lesson.log.read_bytes()[before:].decode(errors="replace")
                if process.exitcode:
                    tally.kills[stage] += 1
                    is_told = "Traceback" not in said and re.search("space|MiB left|disk", said)
                    tally.differs |= set() if is_told else {f"{stage}: {said[-2000:]}"}
            lesson.end(paths, tally)
    return tally


@contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    """A file system of 48 MB, which root can mount."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(place)], check=True)  # noqa: S603, S607
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S603, S607


def kill_jobs(place: Path, n_kills: int, draw: random.Random) -> Tally:
    """Runs that the page has begun in interpreters of their own, five kills each; the page finds them interrupted."""
    tally = Tally(part="job")
    with _lesson(place) as lesson:
        environment = {"OPENAI_BASE_URL": lesson.endpoint.base_url, "LLM_MODEL": "scripted", "LOCAL_LLM": ""}
        known = Job(name=_RUN, corpus=_CORPUS, environment=environment)
        whole_s = sum(lesson.seconds.values())
        jobs, folder = Jobs(DataPaths(place / "killed")), RunFolder(place / "killed" / "runs" / _RUN)
        while tally.kills.total() < n_kills:
            paths = lesson.begin(place / "killed")
            shutil.rmtree(paths.run(_RUN))
            secrets = {"OPENAI_API_KEY": "sk-test"}
            Jobs(paths).start(known, secrets, {SETTINGS: settings_text(_CONFIG).encode()})
            for _ in range(min(5, n_kills - tally.kills.total())):
                _wait_until(lambda: jobs.running() is None or bool(folder.progress.stage))  # all has been imported then
                time.sleep(draw.random() * whole_s)
                if (job := folder.job) and (process := folder.process):
                    process.kill()
                    _wait_until(lambda: jobs.running() is None)
                    tally.kills[folder.progress.stage or "starting"] += 1
                    if folder.state not in ("interrupted", "failed"):
                        tally.differs.add(f"the page takes a killed job for {folder.state}")
                    folder.file(PROGRESS).unlink()
                    Jobs(paths).resume(job, secrets)  # a page of its own, as after a restart
            _wait_until(lambda: jobs.running() is None)
            lesson.end(paths, tally)
    return tally


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit("It was waited for in vain.")
        time.sleep(0.05)


# --- the page ---


def _page(paths: DataPaths, upload: Path | None, log: Path) -> None:
    """What the page does behind its port: what was left undone, then `upload`, if there is one."""
    from app.__main__ import assemble
    from app.settings import read_settings

    _say_into(log)
    os.environ.update(DATA_DIR=str(paths.root), ENCODER="tiny", APP_DEMO="0", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    bench = assemble(read_settings(), paths)
    bench.background.start()
    bench.uploads.resume()
    if upload:
        bench.uploads.take(_CORPUS, sorted(upload.iterdir()))
        (upload.with_name(f"{upload.name}.taken")).touch()
    while bench.background.is_busy:
        time.sleep(0.01)
    os._exit(0)


def kill_pages(place: Path, n_kills: int, draw: random.Random) -> Tally:
    """Pages, killed with uploads under way and started again; what was not taken over yet is handed in again."""
    tally, log = Tally(part="page"), place / "log"
    prepared, paths, alone = (DataPaths(place / name) for name in ("prepared", "data", "alone"))
    (place / "texts").mkdir()
    finish(start(_prepare, prepared, place / "texts"))
    for copy in (paths, alone):
        shutil.copytree(prepared.root, copy.root)

    def doing() -> str:
        lines = re.findall(r"^(Reading|Indexing|Loading|Upload)", log.read_text(errors="replace"), re.MULTILINE)
        return lines[-1] if lines else ""

    number, took_s = 0, 0.0
    while number == 0 or tally.kills.total() < n_kills:
        number += 1
        given = place / f"upload-{number}"
        given.mkdir()
        for n in range(6):
            _write(given / f"{number}-{n}.jsonl", draw)
        shutil.copytree(given, place / f"own-{number}")
        began = time.monotonic()
        finish(start(_page, alone, place / f"own-{number}", log), log)  # first the one that is left alone
        took_s = time.monotonic() - began
        for _ in range(min(5, n_kills - tally.kills.total())):
            log.write_text("")
            if what := kill(start(_page, paths, _untaken(given), log), doing, {""}, took_s, draw):
                tally.kills[what] += 1
        finish(start(_page, paths, _untaken(given), log), log)
        compare(alone, paths, _CORPUS, tally)
        tally.differs |= {f"left over: {each.name}" for each in paths.uploads.iterdir()}
    return tally


def _untaken(given: Path) -> Path | None:
    """Copies of the files, which the page will move; None if it has said that it took them over."""
    taking = given.with_name(f"{given.name}-taking")
    if taking.with_name(f"{taking.name}.taken").exists():
        return None
    shutil.rmtree(taking, ignore_errors=True)
    shutil.copytree(given, taking)
    return taking


# --- the embedded LLM ---


def kill_embedded(place: Path, n_kills: int, draw: random.Random) -> Tally:
    """The child that serves the embedded LLM, killed while it starts or answers; who asks is told, and asks again."""
    from distill.llm.connection import LLMConfig, connect_llm, llm_errors
    from distill.llm.embedded import LocalServer
    from distill.llm.weights import ensure_weights
    from indexes.errors import LLMError

    tally, name = Tally(part="embedded"), "smollm2-135m"
    models, paths = Path(__file__).parent.parent / ".cache" / "models", DataPaths(place / "data")
    ensure_weights(name, models)
    questions = [f"Name {n} things that are {colour}." for n in (2, 3) for colour in ("red", "blue", "green")]
    doing = ["starting"]
    with LocalServer(name, models, n_ctx=512, n_parallel=1, n_threads=1) as server:

        def answer(question: str) -> str:
            doing[0] = "starting"
            llm = connect_llm(LLMConfig(local_llm=name), paths, server=server, max_tokens=16)
            doing[0] = "answering"
            with llm_errors():
                return str(llm.invoke(question).content)

        began = time.monotonic()
        alone = {question: answer(question) for question in questions}
        took_s = time.monotonic() - began
        while tally.kills.total() < n_kills:
            question, is_killed = draw.choice(questions), threading.Event()

            def kill_child(is_killed: threading.Event = is_killed) -> None:
                for child in _servers():
                    child.kill()
                    tally.kills[doing[0]] += 1
                is_killed.set()

            threading.Timer(draw.random() * 2 * took_s / len(questions), kill_child).start()
            try:
                found = answer(question)
            except LLMError as error:
                found = alone[question] if len(str(error)) > 20 else "no sentence"
            is_killed.wait()
            with suppress(LLMError):
                tally.lost += answer(question) != alone[question] or found != alone[question]
                continue
            tally.lost += answer(question) != alone[question]  # the first one after a kill may find it dying
        tally.doubled = len(_servers()) - 1
    return tally


def _servers() -> list[psutil.Process]:
    """The children that serve the embedded LLM."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            found += [child] if "distill.llm.embedded" in child.cmdline() else []
    return found


def main(n_kills: int, *parts: str) -> int:
    """1 if anything was lost, doubled, paid twice or not as it would have been, else 0."""
    chosen = parts or tuple(_PARTS)
    _FORKS.set_forkserver_preload(_PRELOADED + (_OF_TEACHING if set(chosen) - {"add", "embedded"} else []))
    is_sound = True
    for part in chosen:
        with tempfile.TemporaryDirectory() as place:
            tally = _PARTS[part](Path(place), n_kills, random.Random(_SEED))  # noqa: S311 - a repeatable choice
        print(tally.told(), flush=True)
        is_sound &= tally.is_sound
    return int(not is_sound)


_PARTS = {
    "add": kill_adds,
    "run": kill_runs,
    "page": kill_pages,
    "job": kill_jobs,
    "embedded": kill_embedded,
    "disk": fill_disks,
}

if __name__ == "__main__":
    from benchmarks import kills  # whose functions other processes find by this name

    sys.exit(kills.main(int((sys.argv[1:2] or ["20"])[0]), *sys.argv[2:]))
