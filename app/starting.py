"""What is checked before the page opens: each check raises its sentence, or returns."""

from __future__ import annotations

import ipaddress
import socket
from importlib.util import find_spec

from app.settings import Settings
from indexes.errors import InputError, StoreError
from indexes.paths import DataPaths


def check_mcp(settings: Settings) -> None:
    """Nothing if the MCP tools can be offered as set; otherwise the sentence is raised."""
    if not settings.app_mcp:
        return
    if find_spec("mcp") is None:
        raise InputError("APP_MCP is set, but the package mcp is not installed. Install it (pip install '.[mcp]').")
    if settings.app_auth:  # gradio calls its own page for a tool, and has no name to give at the door
        raise InputError(
            "APP_MCP and APP_AUTH do not go together: an MCP client cannot sign in, so its tools would answer nobody. "
            "Unset one of them."
        )


def open_door(settings: Settings) -> str:
    """A warning where everybody in reach of the machine may use the page, "" where the door is closed or the machine's
    own.
    """
    if settings.app_auth or _is_loopback(settings.app_host):
        return ""
    return (
        f"Warning: the page listens on {settings.app_host} and asks nobody for a name: whoever reaches it can "
        "read, add and delete documents and use the LLM. Name who may: python -m app password NAME, then APP_AUTH."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def check_port(host: str, port: int) -> None:
    """Nothing if the page can listen there; otherwise the sentence is raised."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            raise InputError(f"APP_HOST is '{host}', but no such address is known. Use 127.0.0.1 or 0.0.0.0.") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(
                f"The page cannot listen on {host}:{port} ({reason}). End what uses that port, or choose another: "
                f"APP_PORT={port + 1 if port < 65535 else 7860} python -m app"
            ) from None


def check_writable(paths: DataPaths) -> None:
    """Nothing if the data folder can be written; otherwise the sentence is raised."""
    probe = paths.root / ".writable"
    try:
        paths.root.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreError(
            f"The data folder {paths.root} cannot be written ({reason}). Check its rights and the disk's space, or set "
            "DATA_DIR to another folder."
        ) from None
