"""Other websites reach nothing of the page, whatever a visitor's browser sends along for them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.access import OwnSiteOnly, Sessions, Status, own_names

NAMES = own_names("127.0.0.1", "", "rag.example.org")


async def page(scope: Any, receive: Any, send: Any) -> None:
    """A reply as gradio sends them: open to any origin, with a cookie that goes along everywhere."""
    headers = [
        (b"access-control-allow-origin", b"https://evil.example"),
        (b"access-control-allow-credentials", b"true"),
        (b"set-cookie", b"access-token=1; HttpOnly; SameSite=none; Secure"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"passages"})


async def ask(method: str = "GET", path: str = "/", app: Any = None, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app or OwnSiteOnly(page, NAMES))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
        return await client.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.fixture(autouse=True)
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "rag.example.org", "RAG.example.org.", "192.168.1.5:7860"],
)
async def test_it_answers_to_its_own_names_and_to_addresses(host: str) -> None:
    assert (await ask(host=host)).text == "passages"


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["evil.example", "x.localhost:7860", "127.0.0.1.evil.example", "localhost@evil", ""])
async def test_a_name_of_somebody_else_is_refused(host: str) -> None:
    """Bound anew to this machine's address, such a name would let a page of that site read this one."""
    reply = await ask(host=host)
    assert (reply.status_code, "passages" in reply.text) == (421, False)
    assert "APP_HOSTS" in reply.text


@pytest.mark.anyio
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:3000", "http://x.localhost:7860"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/upload"),
        ("GET", "/config"),
        ("POST", "/gradio_api/mcp/"),
    ],
)
async def test_a_request_of_another_site_is_refused(method: str, path: str, origin: str) -> None:
    reply = await ask(method, path, origin=origin)
    assert (reply.status_code, "passages" in reply.text) == (403, False)


@pytest.mark.anyio
async def test_its_own_requests_and_those_of_programs_pass() -> None:
    assert (await ask("POST", origin="http://127.0.0.1:7860")).status_code == 200
    assert (await ask("POST", origin="https://rag.example.org")).status_code == 200
    assert (await ask("POST")).status_code == 200
    assert (await ask(sec_fetch_site="same-origin")).status_code == 200


@pytest.mark.anyio
async def test_a_link_from_elsewhere_opens_the_page_but_signs_nobody_out() -> None:
    visit = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert (await ask(**visit)).status_code == 200
    assert (await ask(path="/logout", **visit)).status_code == 405
    assert (await ask("POST", "/logout", origin="https://evil.example")).status_code == 403
    assert (await ask("POST", "/logout", origin="http://127.0.0.1:7860")).status_code == 200
    assert (await ask(**visit | {"sec_fetch_dest": "iframe"})).status_code == 403
    assert (
        await ask(path="/gradio_api/file=a", sec_fetch_site="cross-site", sec_fetch_mode="no-cors")
    ).status_code == 403


@pytest.mark.anyio
async def test_replies_are_opened_to_nobody() -> None:
    headers = (await ask()).headers
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["set-cookie"] == "access-token=1; HttpOnly; SameSite=lax; Secure"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=https://evil.example/a.html",
        "/gradio_api/file=HTTP%3A//169.254.169.254/",
        "/gradio_api/proxy=https://a.hf.space/x",
        "/file=%68ttps://evil.example",
    ],
)
async def test_it_fetches_no_address_for_a_visitor(path: str) -> None:
    assert (await ask(path=path)).status_code == 403


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "most"), [("/login", 10), ("/gradio_api/call/ask", 120)])
async def test_who_asks_too_often_waits_while_others_do_not(path: str, most: int) -> None:
    app = OwnSiteOnly(page, NAMES)
    statuses = [(await ask("POST", path, app=app)).status_code for _ in range(most + 2)]
    assert statuses == [200] * most + [429] * 2
    assert (await ask("POST", "/gradio_api/queue/join", app=app)).status_code == 200
    other = httpx.ASGITransport(app=app, client=("10.0.0.9", 1))
    async with httpx.AsyncClient(transport=other, base_url="http://127.0.0.1:7860") as client:
        assert (await client.post(path)).status_code == 200


def test_a_session_ends_by_itself_and_the_oldest_gives_way() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    sessions["first"] = "ann"
    assert (sessions.get("first"), sessions.get("made up"), sessions.get(None)) == ("ann", None, None)
    now[0] = 12 * 3600
    assert sessions.get("first") is None and "first" not in sessions
    for number in range(10_001):
        now[0] += 0.01
        sessions[str(number)] = "bob"
    assert len(sessions) == 10_000 and "first" not in sessions and "0" not in sessions and "10000" in sessions


def status(scope_app: Any = page, *, is_open: bool) -> Status:
    return Status(scope_app, lambda: {'rag_jobs{state="running"}': 1.0}, is_open=is_open)


@pytest.mark.anyio
async def test_a_watcher_reads_health_and_figures_without_a_login_on_this_machine_only() -> None:
    assert (await ask(path="/healthz", app=status(is_open=False))).text == "ok\n"
    await ask(app=status(is_open=False))
    figures = (await ask(path="/metrics", app=status(is_open=False))).text
    assert 'rag_jobs{state="running"} 1' in figures and 'rag_http_responses_total{status="200"}' in figures
    for is_open, expected in ((True, 200), (False, 403)):
        far = httpx.ASGITransport(app=status(is_open=is_open), client=("10.0.0.9", 1))
        async with httpx.AsyncClient(transport=far, base_url="http://127.0.0.1:7860") as client:
            assert (await client.get("/metrics")).status_code == expected
