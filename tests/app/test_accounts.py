"""Names and hashed passwords let people in, and nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest
from typer.testing import CliRunner

from app.__main__ import commands, launch
from app.access import Doorkeeper, read_accounts, write_account
from app.settings import Settings
from app.workbench import Workbench
from indexes.errors import InputError

PASSWORD = "correct horse battery"


def test_a_line_lets_its_name_in_with_its_password_alone() -> None:
    keeper = Doorkeeper(read_accounts(write_account("ann", PASSWORD) + ", " + write_account("bob", "another one")))
    assert keeper.lets_in("ann", PASSWORD)
    assert keeper.lets_in("bob", "another one")
    assert not keeper.lets_in("ann", "another one")
    assert not keeper.lets_in("ann", "")
    assert not keeper.lets_in("nobody", PASSWORD)
    assert not keeper.lets_in("", "")


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
    assert Doorkeeper(read_accounts(line)).lets_in("ann", PASSWORD)
    assert PASSWORD not in result.output


@pytest.fixture
def guarded(bench: Workbench) -> Iterator[str]:
    """The address of a page that asks for a name, under a path as behind a proxy."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = Settings(
        data_dir=bench.paths.root, app_port=port, app_auth=write_account("ann", PASSWORD), app_root_path="/rag"
    )
    page = launch(bench, settings)
    yield f"http://127.0.0.1:{port}"
    page.close(verbose=False)


def test_the_page_answers_nobody_who_has_not_logged_in(guarded: str) -> None:
    with httpx.Client(base_url=guarded, trust_env=False) as visitor:
        assert visitor.get("/config").status_code == 401
        assert visitor.get("/gradio_api/info").status_code == 401
        wrong = visitor.post("/login", data={"username": "ann", "password": "wrong password"})
        assert wrong.status_code == 400
        assert visitor.get("/config").status_code == 401
        assert visitor.post("/login", data={"username": "ann", "password": PASSWORD}).status_code == 200
        config = visitor.get("/config")
        assert config.status_code == 200
        assert config.json()["root"].endswith("/rag")
