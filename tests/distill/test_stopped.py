"""A run that is stopped by hand says where it stands; one whose data folder was moved goes on at its new place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ROOT, run_here
from scripted_endpoint import ScriptedEndpoint
from small_lesson import scripted_llm, write_facts

from indexes.encoders.loading import load_encoder
from indexes.errors import BusyError
from indexes.ingest import add_files, delete_corpus
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow


def test_ctrl_c_says_where_it_stands_and_a_moved_folder_is_the_one_that_is_worked_on(
    tmp_path: Path, started_before: Callable[[Path], DataPaths]
) -> None:
    paths = started_before(tmp_path / "data")
    for _ in add_files(paths, "facts", sorted(write_facts(tmp_path)), load_encoder("all-MiniLM-L6-v2", paths)):
        pass
    folder = paths.run("stopped")
    folder.mkdir(parents=True)
    (folder / "like.txt").write_text("\n".join(f"What is known about the animal of fact number {n}?" for n in range(5)))
    (folder / "settings.json").write_text(
        '{"corpus": "facts", "name": "stopped", "n_written": 12, "like": "like.txt", "train": "query"}'
    )
    with ScriptedEndpoint(scripted_llm) as endpoint:
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": endpoint.base_url,
            "OPENAI_API_KEY": "sk-test",
            "LLM_MODEL": "scripted",
        }
        command = ["run", f"--data-dir={paths.root}", f"--config={folder / 'settings.json'}"]
        endpoint.stall()
        # What a shell runs in the background ignores Ctrl-C, and so would the child; a handler is not handed on.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        child = subprocess.Popen(
            [sys.executable, "-m", "distill", *command], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        signal.signal(signal.SIGINT, before)
        deadline = time.monotonic() + 100
        while not endpoint.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(BusyError, match=r"'facts' is in use: teaching 'stopped'.*Pause that"):
            delete_corpus(paths, "facts")
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=60)[1]
        assert child.returncode == 130, said
        assert "Stopped in stage " in said and "give the same command again" in said
        assert "Traceback" not in said
        endpoint.recover()
        moved = paths.root.rename(tmp_path / "moved")
        there = DataPaths(moved)
        again = [each.replace(str(paths.root), str(moved)) for each in command]
        ended = run_here("distill", *again, "--until=questions", environment=environment)
        assert ended.returncode == 0, ended.stderr
    assert (there.run("stopped") / "questions.jsonl").is_file() and not paths.root.exists()
    delete_corpus(there, "facts")
