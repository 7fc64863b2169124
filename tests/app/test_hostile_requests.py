"""Requests of every kind that the page takes, with what no browser sends: answered or refused, soon, and nothing told.

Some here; `BULK=2000 pytest tests/app/test_hostile_requests.py` sends as many of each kind.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from fakes import KeywordEncoder
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scripted_endpoint import ScriptedEndpoint

from app.__main__ import launch
from app.jobs.jobs import Jobs
from app.retriever import Retrievers
from app.settings import Settings
from app.workbench import Background, Reader, Workbench
from distill.llm.connection import LLMConfig
from indexes.ingest import add_files
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow

N = int(os.environ.get("BULK", "30"))
often = settings(
    max_examples=N,
    suppress_health_check=list(HealthCheck),
    derandomize="BULK" not in os.environ,
    phases=[Phase.explicit, Phase.generate],
)
KEY, LLM_KEY = "key-of-the-one-client", "sk-of-the-page-itself"
TOO_LONG_S = 120.0
SECRETS = (KEY, LLM_KEY, "Traceback", "site-packages", str(Path(__file__).parents[2]))
seen: Counter[tuple[str, int]] = Counter()

NASTY = [
    "",
    "nature",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/etc/passwd",
    "C:\\windows\\win.ini",
    "__proto__",
    "constructor",
    "__class__.__init__.__globals__",
    "{0.__class__}",
    "%s%n",
    "\x00",
    "a\x00b",
    "\ud800",
    "\u202egnp.exe",
    "'; DROP TABLE passages; --",
    "<script>alert(1)</script>",
    "reranked(reranked(fused(lexical)))",
    "fused(" * 200,
    "NaN",
    "1e400",
    "-x",
    "https://evil.example/a",
    "a" * 100_000,
]
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=20))
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | texts,
    lambda some: st.lists(some, max_size=4) | st.dictionaries(texts, some, max_size=4),
    max_leaves=8,
)
files = st.fixed_dictionaries(
    {"path": texts, "meta": st.just({"_type": "gradio.FileData"})},
    optional={"url": texts, "orig_name": texts, "size": values, "is_stream": values, "mime_type": values},
)
PATHS = [
    "config",
    "login",
    "token",
    "user",
    "app_id",
    "theme.css",
    "manifest.json",
    "monitoring",
    "robots.txt",
    "healthz",
    "metrics",
    "static/{}",
    "assets/{}",
    "svelte/{}",
    "pwa_icon/{}",
    "gradio_api/info",
    "gradio_api/openapi.json",
    "gradio_api/file={}",
    "gradio_api/file/{}",
    "gradio_api/proxy={}",
    "gradio_api/custom_component/{}/{}/{}/{}",
    "gradio_api/stream/{}/0/1/playlist.m3u8",
    "gradio_api/call/ask/{}",
    "gradio_api/upload_progress?upload_id={}",
    "gradio_api/queue/data?session_hash=unknown{}",
    "gradio_api/deep_link?session_hash={}",
    "gradio_api/runs",
    "gradio_api/vibe-code",
    "gradio_api/{}",
    "v1/models/{}",
    "v1/{}",
    "?corpus={}&question={}&tab={}&left={}&right={}",
]
POSTS = [
    "run/{}",
    "api/{}",
    "call/v2/ask",
    "queue/join",
    "reset",
    "cancel",
    "component_server",
    "stream/{}",
    "process_recording",
    "run-history/connect",
    "vibe-edit",
    "mcp/",
    "mcp/messages/",
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Where a page over a small corpus listens, and its data folder."""
    folder = tmp_path_factory.mktemp("hostile")
    paths = DataPaths(folder / "the-data-folder")
    (folder / "bees.txt").write_text("Honey bees dance to tell the hive where flowers grow.", encoding="utf-8")
    for _ in add_files(paths, "nature", [folder / "bees.txt"], KeywordEncoder()):
        pass
    with ScriptedEndpoint() as endpoint, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        config = LLMConfig(base_url=endpoint.base_url, api_key=LLM_KEY, model="scripted")
        bench = Workbench(
            paths=paths,
            encoder="keywords",
            retrievers=Retrievers(paths, "keywords", lambda name, paths: KeywordEncoder(name)),
            reader=Reader(config, paths, endpoints=()),
            background=Background({}),
            jobs=Jobs(paths),
        )
        probe.close()
        opened = launch(bench, Settings.model_validate({"data_dir": paths.root, "app_port": port, "app_api_keys": KEY}))
        yield f"http://127.0.0.1:{port}/", paths.root
        opened.close(verbose=False)
        for (what, status), n in sorted(seen.items()):
            sys.stdout.write(f"{n:6} {status} {what}\n")


_clients: Iterator[httpx.Client] = (
    # An address may ask 120 questions by program a minute: these are of several.
    client
    for number in itertools.count()
    for client in [
        httpx.Client(transport=httpx.HTTPTransport(local_address=f"127.0.0.{number % 250 + 2}"), timeout=TOO_LONG_S)
    ]
    for client in itertools.repeat(client, 100)
)


def send(page: tuple[str, Path], method: str, path: str, what: str, **sent: object) -> tuple[int, str]:
    """The status and the text of a reply, which came soon and told nothing."""
    address, data = page
    began, content = time.monotonic(), b""
    # gradio cuts off who listens to a session that there is not
    with next(_clients).stream(method, address + path, **sent) as reply, suppress(httpx.RemoteProtocolError):  # type: ignore[arg-type]
        for chunk in reply.iter_bytes():
            content += chunk
            assert time.monotonic() - began < TOO_LONG_S, (method, path)
    seen[what, reply.status_code] += 1
    said = content.decode("utf-8", "replace")
    for secret in (*SECRETS, str(data)):
        assert secret not in said, (method, path, secret, said[:600])
    return reply.status_code, said


def as_json(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


JSON = {"content-type": "application/json"}


@often
@given(st.sampled_from(["ask", "compare"]), st.one_of(values, st.lists(values, max_size=9)))
def test_questions_by_program(page: tuple[str, Path], name: str, data: object) -> None:
    status, said = send(page, "POST", f"gradio_api/call/{name}", "call", content=as_json({"data": data}), headers=JSON)
    assert status < 500
    if status == 200:
        _, found = send(page, "GET", f"gradio_api/call/{name}/{json.loads(said)['event_id']}", "call's reply")
        assert "event: complete" in found or "event: error" in found


@often
@given(st.integers(-1, 150), st.lists(st.one_of(values, files, st.lists(files, max_size=2)), max_size=16), st.data())
def test_events_of_the_page(page: tuple[str, Path], event: int, given: list[object], data: st.DataObject) -> None:
    session = f"{next(_sessions)} {data.draw(texts)[:500]}"
    known = _inputs(page[0])
    wanted = known.get(event)
    if wanted is not None and data.draw(st.booleans()):  # as many values as it takes
        given = [*given, *[None] * wanted][:wanted]
    body = {"data": given, "fn_index": event, "session_hash": session, "event_data": data.draw(values)}
    status, _ = send(page, "POST", "gradio_api/queue/join", "event", content=as_json(body), headers=JSON)
    assert status < 500
    if status == 200:
        send(
            page, "GET", f"gradio_api/queue/data?session_hash={quote(session, errors='surrogatepass')}", "event's reply"
        )


_sessions = itertools.count()
_known: dict[str, dict[int, int]] = {}


def _inputs(address: str) -> dict[int, int]:
    """How many values each event takes."""
    if address not in _known:
        config = httpx.get(address + "config").json()
        _known[address] = {each["id"]: len(each["inputs"]) for each in config["dependencies"]}
    return _known[address]


@often
@given(
    st.sampled_from(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"]),
    st.sampled_from(PATHS),
    st.lists(texts, min_size=5),
)
def test_addresses(page: tuple[str, Path], method: str, path: str, names: list[str]) -> None:
    filled = path.format(*(quote(each[:2000], safe="", errors="surrogatepass") for each in names))
    status, said = send(
        page, method, filled, path, headers={"authorization": f"Bearer {KEY}"} if path[:2] == "v1" else {}
    )
    assert status < 500
    assert "root:" not in said


@often
@given(st.sampled_from(POSTS), texts, values)
def test_other_requests(page: tuple[str, Path], path: str, name: str, body: object) -> None:
    filled = "gradio_api/" + path.format(quote(name[:2000], safe="", errors="surrogatepass"))
    status, said = send(page, "POST", filled, path, content=as_json(body), headers=JSON)
    assert status < 500 or "error" in json.loads(said)  # gradio's own way to say a sentence


keys = st.sampled_from([f"Bearer {KEY}", f"bearer {KEY}", "Bearer", "Bearer \u00ff", "Basic a", ""])
messages = st.lists(
    st.one_of(values, st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": values}))
)
chats = st.fixed_dictionaries(
    {"model": st.one_of(st.just("nature"), values), "messages": st.one_of(messages, values)},
    optional={"stream": values, "temperature": values, "n": values, "tools": values},
)
embeds = st.fixed_dictionaries(
    {"model": st.one_of(st.just("nature"), values), "input": st.one_of(texts, st.lists(texts), values)},
    optional={"encoding_format": values, "dimensions": values, "input_type": values},
)


@often
@given(st.sampled_from(["chat/completions", "embeddings"]), keys, st.one_of(chats, embeds, values))
def test_openai_requests(page: tuple[str, Path], path: str, key: str, body: object) -> None:
    headers = {**JSON, "authorization": key.encode("latin-1")}
    status, _ = send(page, "POST", f"v1/{path}", f"v1/{path}", content=as_json(body), headers=headers)
    assert status < 500


@pytest.mark.parametrize(
    "path", ["gradio_api/call/ask", "gradio_api/queue/join", "v1/chat/completions", "v1/embeddings"]
)
@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"data": ' * 50_000, b'{"data": [' + b"9" * 9000 + b"]}", b"\xff\xfe"]
)
def test_bodies_that_are_made_to_break_their_reader(page: tuple[str, Path], path: str, body: bytes) -> None:
    headers = {**JSON, "authorization": f"Bearer {KEY}"}
    assert 400 <= send(page, "POST", path, "broken body", content=body, headers=headers)[0] < 500


@often
@given(st.lists(st.tuples(texts, st.binary(max_size=50)), max_size=3), texts)
def test_uploads(page: tuple[str, Path], given: list[tuple[str, bytes]], upload: str) -> None:
    parts = [("files", (name.encode("utf-8", "replace").decode()[:300], content)) for name, content in given]
    query = quote(upload[:500], errors="surrogatepass")
    assert send(page, "POST", f"gradio_api/upload?upload_id={query}", "upload", files=parts)[0] < 500
