"""Names and hashed passwords let people in, and nobody else; other websites reach nothing of the page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from browsing import free_port
from typer.testing import CliRunner

from app.__main__ import commands, launch
from app.access import Doorkeeper, OwnSiteOnly, Sessions, Status, own_names, read_accounts, write_account
from app.settings import Settings
from app.workbench import Workbench
from indexes.errors import InputError

PASSWORD = "correct horse battery"


def lets_in(keeper: Doorkeeper, name: str, password: str) -> bool:
    return asyncio.run(keeper.lets_in(name, password))


def test_a_line_lets_its_name_in_with_its_password_alone() -> None:
    keeper = Doorkeeper(read_accounts(write_account("ann", PASSWORD) + ", " + write_account("bob", "another one")))
    assert lets_in(keeper, "ann", PASSWORD)
    assert lets_in(keeper, "bob", "another one")
    assert not lets_in(keeper, "ann", "another one")
    assert not lets_in(keeper, "ann", "")
    assert not lets_in(keeper, "nobody", PASSWORD)
    assert not lets_in(keeper, "", "")


def test_a_line_does_not_hold_the_password_and_is_another_each_time() -> None:
    line = write_account("ann", PASSWORD)
    assert PASSWORD not in line
    assert line != write_account("ann", PASSWORD)


@pytest.mark.parametrize(("name", "password"), [("a b", PASSWORD), ("", PASSWORD), ("a:b", PASSWORD), ("ann", "short")])
def test_names_and_passwords_that_cannot_work_are_refused(name: str, password: str) -> None:
    with pytest.raises(InputError):
        write_account(name, password)


@pytest.mark.parametrize(
    "text",
    [
        "ann:secret-in-the-clear",
        "ann",
        "ann:scrypt.3.8.1.AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA",
        "ann:scrypt.99999999.999.1.AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAAAAAAAA",
        "ann:scrypt.16384.8.5.A_AAA.AAAA",
    ],
)
def test_a_damaged_entry_gives_a_sentence_that_does_not_repeat_it(text: str) -> None:
    with pytest.raises(InputError, match="python -m app password") as caught:
        read_accounts(text)
    assert text.partition(":")[2] not in str(caught.value) or ":" not in text


def test_one_name_has_one_password() -> None:
    with pytest.raises(InputError, match="two entries"):
        read_accounts(f"{write_account('ann', PASSWORD)} {write_account('ann', PASSWORD)}")


def test_the_command_prints_a_line_that_works() -> None:
    result = CliRunner().invoke(commands, ["password", "ann"], input=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    line = result.stdout.strip().splitlines()[-1]
    assert lets_in(Doorkeeper(read_accounts(line)), "ann", PASSWORD)
    assert PASSWORD not in result.output


@pytest.fixture
def guarded(bench: Workbench) -> Iterator[str]:
    """The address of a page that asks for a name, under a path as behind a proxy."""
    port = free_port()
    settings = Settings(
        data_dir=bench.paths.root, app_port=port, app_auth=write_account("ann", PASSWORD), app_root_path="/rag"
    )
    page = launch(bench, settings)
    yield f"http://127.0.0.1:{port}"
    page.close(verbose=False)


@pytest.mark.slow
def test_the_page_answers_nobody_who_has_not_logged_in(guarded: str) -> None:
    with httpx.Client(base_url=guarded, trust_env=False, timeout=60) as visitor:
        assert visitor.get("/config").status_code == 401
        assert visitor.get("/gradio_api/info").status_code == 401
        wrong = visitor.post("/login", data={"username": "ann", "password": "wrong password"})
        assert wrong.status_code == 400
        assert visitor.get("/config").status_code == 401
        assert visitor.post("/login", data={"username": "ann", "password": PASSWORD}).status_code == 200
        config = visitor.get("/config")
        assert config.status_code == 200
        assert config.json()["root"].endswith("/rag")


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
        "/file=a%0Ahttps://evil.example",
    ],
)
async def test_it_fetches_no_address_for_a_visitor(path: str) -> None:
    assert (await ask(path=path)).status_code == 403


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "most"), [("/login", 10), ("/gradio_api/call/ask", 120), ("/gradio_api/call/a%0Aline", 120)]
)
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


def test_a_session_that_was_known_before_the_login_is_none_after_it(guarded: str) -> None:
    """Whoever plants a cookie in a visitor's browser is not let in by it once the visitor has signed in."""
    account = {"username": "ann", "password": PASSWORD}
    with httpx.Client(base_url=guarded, trust_env=False, timeout=60) as visitor:
        visitor.post("/login", data=account)
        planted = dict.fromkeys(visitor.cookies.keys(), "planted-by-somebody")
    assert planted
    with httpx.Client(base_url=guarded, trust_env=False, cookies=planted, timeout=60) as visitor:
        reply = visitor.post("/login", data=account)
        assert reply.status_code == 200
        given = {name: value for name, value in reply.cookies.items() if name in planted}
        assert given and "planted-by-somebody" not in given.values()
    for cookies, status in ((planted, 401), (given, 200)):
        with httpx.Client(base_url=guarded, trust_env=False, cookies=cookies, timeout=60) as other:
            assert other.get("/config").status_code == status
