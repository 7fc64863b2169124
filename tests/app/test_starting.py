"""What is checked before the page opens."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from app.access import write_account
from app.settings import Settings, check_mcp, open_door
from indexes.errors import InputError


@pytest.fixture(scope="module")
def account() -> SecretStr:
    return SecretStr(write_account("ann", "a long password"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "rag.example"])  # noqa: S104
def test_a_page_that_others_can_reach_warns_where_nobody_is_named(host: str, account: SecretStr) -> None:
    assert host in open_door(Settings(app_host=host))
    assert "APP_AUTH" in open_door(Settings(app_host=host))
    assert open_door(Settings(app_host=host, app_auth=account)) == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_a_page_of_this_machine_alone_warns_of_nothing(host: str) -> None:
    assert open_door(Settings(app_host=host)) == ""


def test_tools_behind_a_closed_door_are_refused_at_the_start(account: SecretStr) -> None:
    """gradio lists the tools then, and answers every call with a refusal."""
    with pytest.raises(InputError, match="APP_MCP and APP_AUTH do not go together"):
        check_mcp(Settings(app_mcp=True, app_auth=account))
    check_mcp(Settings(app_auth=account))
