"""python -m app: one clear sentence for what cannot work, and a clean end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import free_port
from command_line import run_here

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "app"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("APP_", "OPENAI_", "LLM_"))}
    return plain | {
        "DATA_DIR": str(tmp_path / "data"),
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "APP_DEMO": "0",
        "APP_PORT": str(free_port()),
    }


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield int(holder.getsockname()[1])


def test_a_port_in_use_gives_a_sentence(environment: dict[str, str], taken_port: int) -> None:
    done = run(environment | {"APP_PORT": str(taken_port)})
    assert done.returncode == 1
    assert str(taken_port) in done.stderr
    assert "APP_PORT=" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_setting_gives_a_sentence(environment: dict[str, str]) -> None:
    done = run(environment | {"APP_PORT": "http"})
    assert (done.returncode, done.stdout) == (1, "")
    assert "APP_PORT should be a port number from 1 to 65535" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_is_a_file_gives_a_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = run(environment | {"DATA_DIR": str(tmp_path / "file")})
    assert done.returncode == 1
    assert "DATA_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_told_apart(environment: dict[str, str]) -> None:
    assert run(environment, "--no-such-option").returncode == 2


def test_the_page_opens_and_ends_cleanly(environment: dict[str, str]) -> None:
    process = subprocess.Popen(COMMAND, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        page = wait_for_page(process, int(environment["APP_PORT"]))
        assert "Intermediate Distillation" in page.read().decode("utf-8")
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "The page is open on http://127.0.0.1:" in said
    assert "Traceback" not in said


def test_only_errors_of_libraries_come_to_the_terminal() -> None:
    check = (
        "import logging; from app.__main__ import keep_quiet; keep_quiet()\n"
        "library = logging.getLogger('chatty'); library.setLevel(logging.DEBUG)\n"
        "library.debug('noise'); library.error('what went wrong')"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "ERROR chatty: what went wrong\n"


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_here("app", *arguments, environment=environment)


def wait_for_page(process: subprocess.Popen[str], port: int) -> Any:
    deadline = time.monotonic() + 120
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        assert process.poll() is None, "the page ended by itself"
        try:
            return opener.open(f"http://127.0.0.1:{port}/", timeout=10)
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the page did not open")


def test_all_commands_are_those_of_one_program_too(tmp_path: Path) -> None:
    done = run({"PATH": "/usr/bin"}, "indexes", "list", "--json", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, "[]")
