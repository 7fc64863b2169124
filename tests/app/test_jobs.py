"""The teaching slot, with a tiny child in place of a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.jobs.jobs import Jobs
from distill.run_folder import Job, RunFolder
from indexes.errors import InputError, StoreError
from indexes.paths import DataPaths
from indexes.processes import birth_of, end_within

# Says that it lives, then waits for a file: "finish" ends it well, "fail" with a sentence, SIGTERM gently.
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(next(a for a in sys.argv if a.startswith("--config=")).removeprefix("--config=")).parent
BORN = " ".join((Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
                 Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]))
file, how = folder / "progress.json", os.environ.get("HOW")
def write(**end):
    me = {"pid": os.getpid(), "born": BORN}
    state = me | {"beat": time.time(), "stage": "rankings", "stages": {}, "spend": {}} | end
    file.with_name("p.partial").write_text(json.dumps(state)); file.with_name("p.partial").replace(file)
def stop(*_):
    write(how="stopped", sentence=""); raise SystemExit(130)
signal.signal(signal.SIGTERM, stop)
if how == "dies-at-once":
    print("usage: this is wrong"); raise SystemExit(2)
(folder / "seen.partial").write_text(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ)}))
(folder / "seen.partial").replace(folder / "seen.json")
write()
while True:
    time.sleep(0.02)
    if (folder / "finish").exists():
        (folder / "metrics.json").write_text("{}"); write(how="done", sentence=""); break
    if (folder / "fail").exists():
        write(how="failed", sentence="The LLM refuses."); raise SystemExit(1)
"""


def wait_until(true: Callable[[], bool], what: str = "") -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, f"waited in vain {what}"
        time.sleep(0.02)


@pytest.fixture
def jobs(paths: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    child = tmp_path / "child.py"
    child.write_text(CHILD, encoding="utf-8")
    for name in ("LANG", "OPENAI_ORG_ID", "APP_AUTH", "AWS_SECRET"):
        monkeypatch.setenv(name, f"the page's {name}")
    jobs = Jobs(paths, program=(sys.executable, str(child)))
    yield jobs
    while job := jobs.running():
        os.kill(job.pid, signal.SIGKILL)
        wait_until(lambda: jobs.running() is None)


def job(name: str = "first", **environment: str) -> Job:
    return Job(name=name, corpus="nature", environment={"LLM_MODEL": "wise"} | environment)


def run(paths: DataPaths, name: str = "first") -> RunFolder:
    return RunFolder(paths.run(name))


def resume(jobs: Jobs, paths: DataPaths, budget: str = "") -> None:
    """Goes on with the job that the run's folder knows."""
    known = run(paths).job
    assert known is not None
    jobs.resume(replace(known, budget=budget), {})


def start(jobs: Jobs, paths: DataPaths, secrets: dict[str, str] | None = None) -> None:
    """Starts a job and waits until its child has said that it lives."""
    jobs.start(job(), secrets or {}, {})
    wait_until(lambda: (paths.run("first") / "seen.json").exists() and run(paths).progress.pid > 0)


def seen(paths: DataPaths, name: str = "first") -> dict[str, object]:
    value: dict[str, object] = json.loads((paths.run(name) / "seen.json").read_text(encoding="utf-8"))
    return value


def end(paths: DataPaths) -> None:
    process = run(paths).process
    assert process is not None
    end_within(process)


def test_a_job_goes_on_when_the_one_who_started_it_is_forgotten(jobs: Jobs, paths: DataPaths) -> None:
    start(jobs, paths)
    anew = Jobs(paths)  # as after a restart of the page
    assert run(paths).state == "running"
    running = anew.running()
    assert running is not None and running.corpus == "nature"
    assert os.getsid(running.pid) == running.pid  # a closed terminal does not reach it
    (paths.run("first") / "finish").touch()
    wait_until(lambda: run(paths).state == "done")
    assert anew.running() is None


def test_a_key_is_in_the_environment_with_what_is_needed_and_nowhere_else(jobs: Jobs, paths: DataPaths) -> None:
    start(jobs, paths, secrets={"OPENAI_API_KEY": "sk-secret"})
    child = seen(paths)
    values = set(dict(child["env"]).values())  # type: ignore[call-overload]
    assert values >= {"the page's LANG", "wise", "sk-secret", os.environ["PATH"]}
    assert values.isdisjoint({"the page's OPENAI_ORG_ID", "the page's APP_AUTH", "the page's AWS_SECRET"})
    assert "sk-secret" not in json.dumps(child["argv"])
    for file in paths.run("first").iterdir():
        assert file.name == "seen.json" or "sk-secret" not in file.read_text(encoding="utf-8")


def test_on_a_full_disk_no_job_begins_and_its_name_stays_free(small_disk: Path) -> None:
    jobs, films = Jobs(DataPaths(small_disk)), small_disk / "films"
    films.write_bytes(b"0" * (20 * 2**20))
    with pytest.raises(StoreError, match="MiB left"):
        jobs.start(job(), {}, {"like.txt": b"x"})
    assert list((small_disk / "runs").iterdir()) == []


def test_of_two_who_start_at_once_one_is_told_who_teaches_what(jobs: Jobs, paths: DataPaths) -> None:
    said: list[str] = []

    def press(name: str) -> None:
        try:
            jobs.start(job(name), {}, {})
        except InputError as error:
            said.append(str(error))

    threads = [threading.Thread(target=press, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running = jobs.running()
    assert running is not None
    assert len(said) == 1
    assert f"'{running.name}' is being taught for corpus 'nature' since" in said[0]
    other = "second" if running.name == "first" else "first"
    assert not paths.run(other).exists()


def test_a_pause_is_gentle_and_a_resume_gives_the_same_command_again(jobs: Jobs, paths: DataPaths) -> None:
    start(jobs, paths)
    before = seen(paths)["argv"]
    jobs.pause("first")
    wait_until(lambda: run(paths).state == "paused")
    assert run(paths).progress.how == "stopped"
    (paths.run("first") / "seen.json").unlink()
    resume(jobs, paths, "3 usd")
    wait_until(lambda: (paths.run("first") / "seen.json").exists())
    assert [each for each in seen(paths)["argv"] if not each.startswith("--budget")] == before  # type: ignore[attr-defined]
    assert "--budget=3 usd" in seen(paths)["argv"]  # type: ignore[operator]
    assert run(paths).state == "running"


def test_a_killed_job_is_interrupted_and_can_be_resumed(jobs: Jobs, paths: DataPaths) -> None:
    start(jobs, paths)
    running = jobs.running()
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: run(paths).state == "interrupted")
    resume(jobs, paths)
    assert run(paths).state == "running"


def test_another_process_with_the_same_number_is_not_taken_for_the_job(jobs: Jobs, paths: DataPaths) -> None:
    """After a restart of the machine a number may belong to anybody, who must not be shown, waited for or ended."""
    start(jobs, paths)
    end(paths)
    file = paths.run("first") / "job.json"
    known = json.loads(file.read_text(encoding="utf-8")) | {"pid": os.getpid()}
    file.write_text(json.dumps(known), encoding="utf-8")
    assert run(paths).state in ("interrupted", "failed")
    assert jobs.running() is None
    assert run(paths).process is None  # which a deletion would end: this very test


def test_a_failed_job_says_why(jobs: Jobs, paths: DataPaths) -> None:
    start(jobs, paths)
    (paths.run("first") / "fail").touch()
    wait_until(lambda: run(paths).state == "failed")
    assert run(paths).progress.sentence == "The LLM refuses."


def test_a_job_that_dies_at_once_has_failed_and_its_log_tells(jobs: Jobs, paths: DataPaths) -> None:
    jobs.start(job(HOW="dies-at-once"), {}, {})
    wait_until(lambda: run(paths).state == "failed")
    assert run(paths).log_tail == "usage: this is wrong"
    assert run(paths).failure == "It ended before it began: usage: this is wrong"


def test_a_name_that_is_taken_is_refused_and_nothing_is_overwritten(jobs: Jobs, paths: DataPaths) -> None:
    paths.run("first").mkdir(parents=True)
    with pytest.raises(InputError, match="Choose another name"):
        jobs.start(job(), {}, {"like.txt": b"x"})
    assert list(paths.run("first").iterdir()) == []


def test_a_run_that_a_command_began_is_seen_and_goes_on_here_once_that_command_has_ended(
    jobs: Jobs, paths: DataPaths
) -> None:
    folder = paths.run("first")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"name": "first", "corpus": "nature"}', encoding="utf-8")
    command = subprocess.Popen([sys.executable, "-c", CHILD, f"--config={folder / 'config.json'}"])
    wait_until(lambda: run(paths).state == "running")
    with pytest.raises(InputError, match="going on in the terminal"):
        jobs.resume(job(), {})
    assert jobs.running() is None
    jobs.pause("first")
    command.wait()
    assert run(paths).state == "interrupted"
    jobs.resume(job(), {})
    wait_until(lambda: run(paths).progress.pid != command.pid)
    assert run(paths).state == "running"
    assert f"--config={(folder / 'config.json').resolve()}" in seen(paths)["argv"]  # type: ignore[operator]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": 3}', '{"name": "first"}'])
def test_damaged_files_do_not_keep_the_page_from_opening(jobs: Jobs, paths: DataPaths, content: str) -> None:
    paths.run("first").mkdir(parents=True)
    for name in ("job.json", "progress.json"):
        (paths.run("first") / name).write_text(content, encoding="utf-8")
    assert jobs.running() is None
    assert run(paths).state == "interrupted"


def test_a_clock_that_is_set_does_not_make_a_running_job_look_dead() -> None:
    """What tells a process from others is counted from the start of the machine, by its kernel."""
    boot, ticks = birth_of(os.getpid()).split()
    since_boot = float(Path("/proc/uptime").read_text().split()[0])
    assert int(ticks) / os.sysconf("SC_CLK_TCK") <= since_boot
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert birth_of(2**22 + 1) == ""
