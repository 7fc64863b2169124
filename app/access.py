"""Who may use the page, and from where: not other websites, and a browser loads nothing from other hosts."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from indexes.errors import InputError
from indexes.observing import count, exposition

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


_log = logging.getLogger(__name__)

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

    async def lets_in(self, name: str, password: str) -> bool:
        """Whether there is such an account; an unknown name takes as long as a wrong password.

        It is hashed in a thread, which holds up no other visitor.
        """
        return await asyncio.to_thread(self._fits, name, password)

    def _fits(self, name: str, password: str) -> bool:
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
    "form-action 'self'; frame-ancestors 'none'"
)
_OWN_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
]
# gradio would load these addresses for anyone
_FETCHES = re.compile(r"/(?:file=|proxy=).*https?:", re.IGNORECASE | re.DOTALL)
# What an address may send in a minute: the end of the path, how often, and what it is told then. Who asks by program
# begins a session with each question, which costs more than one of the page's own requests.
_LIMITS = (
    (re.compile(r"/login/?"), 10, "Too many tries to sign in from this address."),
    (re.compile(r".*/(call|run|api)/.*", re.DOTALL), 120, "Too many questions by program from this address."),
    (re.compile(r".*", re.DOTALL), 6000, "Too many requests from this address."),
)
_UNREADABLE = "This request cannot be read: it is none that the page sends. Reload the page."
_MOST_ADDRESSES = 10_000
_SESSION_S, _MOST_SESSIONS = 12 * 3600, 10_000


class Sessions(dict[str, str]):
    """Who is signed in, by the token of the session: each ends after 12 hours, the oldest where they are too many."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._until: dict[str, float] = {}

    def __setitem__(self, token: str, user: str) -> None:
        # All last as long, so the oldest ends first.
        while (old := next(iter(self._until), None)) and (old not in self or len(self._until) >= _MOST_SESSIONS):
            del self._until[old]
            self.pop(old, None)
        self._until.pop(token, None)
        super().__setitem__(token, user)
        self._until[token] = self._now() + _SESSION_S

    def __contains__(self, token: object) -> bool:
        return super().__contains__(token) and self._now() < self._until[str(token)]

    def get(self, token: str | None, default: Any = None) -> Any:
        """The user of a session that has not ended."""
        return self[token] if token is not None and token in self else default


def own_names(app_host: str, root_path: str, more: str) -> frozenset[str]:
    """The host names that the page answers to beside addresses: this machine's, and those that the operator names."""
    named = (each.strip().lower().rstrip(".") for each in more.split(","))
    machine = (socket.gethostname().lower(), app_host.lower())
    proxy = urlsplit(root_path).hostname or ""
    return frozenset(name for name in ("localhost", proxy, *machine, *named) if name)


class OwnSiteOnly:
    """ASGI middleware that keeps other websites out: a browser brings their requests, and sometimes a visitor's cookie.

    A request has to be for one of `names` or for an address (a name of their own, bound anew to this machine's address,
    is how pages of others read local ones), and where the browser says which site it is from, from this one. Replies
    tell the browser to load nothing from elsewhere, to be framed by nobody, and to send cookies to no other site.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app = app
        self._names = names
        self._sent: dict[tuple[str, int], deque[float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if refusal := self._refusal(scope):
            await _refuse(scope, receive, send, *refusal)
            return

        if scope["path"].rstrip("/").endswith("/logout"):
            scope = {**scope, "method": "GET"}  # gradio signs out by visiting it; here that takes a request of our own

        has_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if message["type"] == "http.response.start":
                message["headers"] = _guarded(message.get("headers", []))
            await send(message)

        try:
            await self._app(scope, receive, send_guarded)
        except Exception as error:
            if has_begun or scope["type"] != "http":
                raise
            _log.warning("A request of %r failed: %s", scope["path"][:99], type(error).__name__)
            await _refuse(scope, receive, send, 400, _UNREADABLE)  # what our own functions raise is told elsewhere

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the sentence for a request that is not let through."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        name = _hostname(host)
        if not (name in self._names or _is_address(name)):
            return 421, (
                f"This page does not answer to the name '{name[:99]}'. Whoever runs it can allow that: "
                f"APP_HOSTS={name[:99]}"
            )
        if not self._is_own(headers, host):
            return 403, "This request comes from another website, and this page takes none of theirs."
        if _FETCHES.search(unquote(scope["path"])):
            return 403, "This page loads no other address for its visitors."
        if scope["path"].rstrip("/").endswith("/logout") and scope.get("method") != "POST":
            return 405, "A visit signs nobody out. Use the button of the page, which sends a POST."
        if scope.get("method") == "POST":
            return self._too_many(str((scope.get("client") or ("",))[0]), scope["path"])
        return None

    def _is_own(self, headers: Mapping[bytes, str], host: str) -> bool:
        origin = headers.get(b"origin")
        if origin is not None:  # browsers leave it out of plain visits
            parts = urlsplit(origin)
            by_proxy = parts.scheme == "https" and parts.hostname in self._names - {"localhost"}
            return parts.netloc.lower() == host.lower() or by_proxy
        is_visit = headers.get(b"sec-fetch-mode") == "navigate" and headers.get(b"sec-fetch-dest") == "document"
        site = headers.get(b"sec-fetch-site", "none")
        return site in ("same-origin", "none") or is_visit

    def _too_many(self, address: str, path: str) -> tuple[int, str] | None:
        """The refusal of an address that has sent too much: cheap, before a password is hashed or a session begun."""
        now = time.monotonic()
        if len(self._sent) > _MOST_ADDRESSES:
            self._sent.clear()
        kind = next(number for number, (pattern, *_) in enumerate(_LIMITS) if pattern.fullmatch(path))
        _, most, sentence = _LIMITS[kind]
        sent = self._sent.setdefault((address, kind), deque(maxlen=most))
        if len(sent) == most and now - sent[0] < 60:
            return 429, f"{sentence} Wait a minute, then try again."
        sent.append(now)
        return None


def _hostname(host: str) -> str:
    try:
        return "" if "@" in host else (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _guarded(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of a reply without those that open it to other sites, and with those that close it."""
    kept = [(name, value) for name, value in headers if not name.lower().startswith(b"access-control-")]
    cookies = [
        (name, value.replace(b"SameSite=none", b"SameSite=lax").replace(b"SameSite=None", b"SameSite=lax"))
        if name.lower() == b"set-cookie"
        else (name, value)
        for name, value in kept
    ]
    return [*cookies, *_OWN_HEADERS]


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    body = sentence.encode("utf-8", "replace")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_OWN_HEADERS]})
    await send({"type": "http.response.body", "body": body})


class Status:
    """ASGI middleware for who watches the page: /healthz says that it answers, /metrics what it has done.

    Where people sign in, only this machine reads the figures.
    """

    def __init__(self, app: ASGIApp, gauges: Callable[[], Mapping[str, float]], *, is_open: bool) -> None:
        self._app = app
        self._gauges = gauges
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "") if scope["type"] == "http" else ""
        if path == "/healthz":
            await _refuse(scope, receive, send, 200, "ok\n")
        elif path != "/metrics":
            await self._counted(scope, receive, send)
        elif not (self._is_open or _is_this_machine(scope)):
            await _refuse(scope, receive, send, 403, "The figures are for the machine that the page runs on.")
        else:
            await _refuse(scope, receive, send, 200, exposition(await asyncio.to_thread(self._gauges)))

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                count("rag_http_responses_total", status=str(message["status"]))
            await send(message)

        await self._app(scope, receive, send_counted)


def _is_this_machine(scope: Scope) -> bool:
    client = str((scope.get("client") or ("",))[0])
    return _is_address(client) and ipaddress.ip_address(client).is_loopback
