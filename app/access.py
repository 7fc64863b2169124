"""Who may use the page, and what a browser may load on it: nothing from other hosts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexes.errors import InputError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


# OWASP's advice for scrypt with 16 MiB: N = 2^14, r = 8, p = 5. The figures stand in each line, so they can change.
_N, _R, _P = 2**14, 8, 5
_MAX_MEMORY = 128 * 1024 * 1024
_KEY_BYTES, _SALT_BYTES = 32, 16
_MAX_PASSWORD_CHARACTERS = 1024
_NAME = re.compile(r"[^\s:,]{1,64}")
_LINE = re.compile(r"([^\s:,]{1,64}):scrypt\.(\d{1,8})\.(\d{1,3})\.(\d{1,3})\.([\w-]{8,})\.([\w-]{16,})")
_MADE_BY = "Make one with: python -m app password NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordHash:
    """What is kept of a password: scrypt's parameters, the salt, and the key they give."""

    n: int
    r: int
    p: int
    salt: bytes
    key: bytes

    def fits(self, password: str) -> bool:
        """Whether `password` is the one; takes as long for a wrong one."""
        return hmac.compare_digest(self.key, _derive(password, self.salt, self.n, self.r, self.p, len(self.key)))


def write_account(name: str, password: str) -> str:
    """The line for APP_AUTH that lets `name` in with `password`, which cannot be read from it."""
    if not _NAME.fullmatch(name):
        raise InputError("A name of 1 to 64 characters without blanks, colons and commas was expected. Choose another.")
    if not 8 <= len(password) <= _MAX_PASSWORD_CHARACTERS:
        raise InputError(f"The password has {len(password)} characters; 8 to 1,024 are allowed. Choose another.")
    salt = secrets.token_bytes(_SALT_BYTES)
    key = _derive(password, salt, _N, _R, _P, _KEY_BYTES)
    return f"{name}:scrypt.{_N}.{_R}.{_P}.{_encode(salt)}.{_encode(key)}"


def read_accounts(text: str) -> dict[str, PasswordHash]:
    """Name → hash, from lines separated by commas or white space; raises `InputError`, which never repeats a line."""
    accounts: dict[str, PasswordHash] = {}
    for place, line in enumerate(re.split(r"[\s,]+", text.strip(" \t\r\n,")), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise InputError(
                f"Entry {place} of APP_AUTH is not of the form NAME:scrypt.…, with a hashed password. {_MADE_BY}"
            )
        name, n, r, p, salt, key = match.groups()
        if name in accounts:
            raise InputError(f"APP_AUTH has two entries for '{name}'. Keep one of them.")
        accounts[name] = _read_hash(place, int(n), int(r), int(p), salt, key)
    return accounts


def _read_hash(place: int, n: int, r: int, p: int, salt: str, key: str) -> PasswordHash:
    try:
        found = PasswordHash(n=n, r=r, p=p, salt=_decode(salt), key=_decode(key))
        found.fits("")  # parameters that scrypt refuses are told at the start, not at the first visit
    except ValueError:
        raise InputError(f"The hash in entry {place} of APP_AUTH is damaged. {_MADE_BY}") from None
    return found


class Doorkeeper:
    """Lets people in by name and password, one at a time: guessing many at once is no faster."""

    def __init__(self, accounts: Mapping[str, PasswordHash]) -> None:
        self._accounts = dict(accounts)
        self._nobody = read_accounts(write_account("nobody", secrets.token_hex(16)))["nobody"]
        self._turn = threading.Lock()

    def lets_in(self, name: str, password: str) -> bool:
        """Whether there is such an account; an unknown name takes as long as a wrong password."""
        account = self._accounts.get(name)
        with self._turn:
            fits = (account or self._nobody).fits(password[: _MAX_PASSWORD_CHARACTERS + 1])
        return fits and account is not None


def _derive(password: str, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=length)


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


# gradio's own page needs inline scripts and styles, and evaluates the small scripts of its components.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'"
)


class OwnHostOnly:
    """ASGI middleware that adds a content security policy to every reply."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self._app(scope, receive, send_with_policy if scope["type"] == "http" else send)
