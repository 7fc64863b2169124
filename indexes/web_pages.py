"""Web pages by their addresses → files to read: fetched politely, from private networks only where that is allowed."""

from __future__ import annotations

import html
import ipaddress
import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

import httpx

from indexes.errors import UnreadableFileError
from indexes.files import SUPPORTED_SUFFIXES, SourceFile, is_address, suffix_of

_NAME = "intermediate-distillation"  # as a robots.txt calls us
_MOST_BYTES = 2**26  # of one page, unpacked
_LONGEST_S = 60.0  # for one page, whatever it is redirected to
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0  # between two requests to a host; what a robots.txt may ask for at most
_MOST_REDIRECTS = 5
_MOST_OF_HOST = 1_000  # pages that one command reads
_MOST_SITEMAPS = 50
_LOCATION = re.compile(rb"<loc>\s*(?:<!\[CDATA\[)?\s*(.*?)\s*(?:\]\]>)?\s*</loc>", re.DOTALL)
_MAPPED = ipaddress.ip_network("64:ff9b::/96")  # IPv4 within IPv6, as NAT64 writes it
_SUFFIX_OF = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/epub+zip": ".epub",
    "application/rtf": ".rtf",
    "text/rtf": ".rtf",
    "message/rfc822": ".eml",
    "application/json": ".json",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/markdown": ".md",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    status: int
    content: bytes = b""
    type: str = ""  # as the server says: text/html
    charset: str = ""
    modified: str = ""


class WebPages:
    """A reader of web pages, one request at a time; usable until the context is left.

    A name is looked up once for each request, every address that it has is checked, and the connection is made to a
    checked one: a name that is bound anew in between leads nowhere else. Redirections are followed by the same rules.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        pause_s: float = _PAUSE_S,
        look_up: Callable[..., Any] = socket.getaddrinfo,
    ) -> None:
        self._allow_private = allow_private
        self._look_up = look_up
        self._pause_s = pause_s
        self._robots: dict[str, RobotFileParser] = {}
        self._asked_at: dict[str, float] = {}
        # No proxy: it would look names up by itself.
        self._client = httpx.Client(
            trust_env=False,
            timeout=httpx.Timeout(20.0, connect=10.0),
            headers={"User-Agent": _NAME, "Accept-Encoding": "gzip", "Accept": "*/*"},
        )

    def __enter__(self) -> WebPages:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def sources(self, addresses: Iterable[str]) -> list[SourceFile]:
        """The pages at `addresses`; a sitemap and a list of addresses, one a line, stand for what they name."""
        found: dict[str, SourceFile] = {}
        for address in dict.fromkeys(addresses):
            for each in self._expanded(address):
                found.setdefault(each.source, each)
        by_host = defaultdict[str, list[SourceFile]](list)
        for source in found.values():
            by_host[urlsplit(source.source).netloc].append(source)
        for host, pages in by_host.items():
            if n_more := len(pages[_MOST_OF_HOST:]):
                said = f"{n_more} of its pages passed over: at most {_MOST_OF_HOST:,} of a host are read at a time"
                pages[_MOST_OF_HOST:] = [_skipped(host, said)]
        return [page for pages in by_host.values() for page in pages]

    def fetch(self, address: str, folder: Path) -> Path:
        """The content at `address` as a file in `folder`, whose suffix says what it is.

        Raises `UnreadableFileError` with a sentence when it is not there, not allowed, too large or of no known kind.
        """
        reply = self._get(address)
        file = folder / f"page{_suffix(address, reply)}"
        is_text = reply.type.startswith("text/") and reply.charset not in ("", "utf-8")
        file.write_bytes(_as_utf8(reply) if is_text else reply.content)
        try:
            moment = parsedate_to_datetime(reply.modified).timestamp()
            os.utime(file, (moment, moment))
        except (ValueError, OverflowError, OSError):
            pass  # the day of the visit, then
        return file

    def _expanded(self, address: str) -> Iterator[SourceFile]:
        try:
            address = _normal(address)
            if not urlsplit(address).path.lower().endswith((".xml", ".xml.gz", ".txt")):
                yield self._source(address)
                return
            named, n_foreign = self._named_by(address)
        except UnreadableFileError as error:
            shown = "".join(each if each.isprintable() else "?" for each in address)
            yield SourceFile(source=shown, path=Path(), refusal=str(error))
            return
        yield from map(self._source, named or [address])
        if n_foreign:
            yield _skipped(address, f"{n_foreign} addresses passed over: a sitemap speaks for its own host alone")

    def _source(self, address: str) -> SourceFile:
        return SourceFile(source=address, path=Path(), fetch=partial(self.fetch, address))

    def _named_by(self, address: str) -> tuple[list[str], int]:
        """The addresses that a sitemap (with those it names) or a list has, and how many others are of other hosts."""
        host, named, waiting, n_foreign = urlsplit(address).netloc, dict[str, None](), [address], 0
        for n_read in range(_MOST_SITEMAPS):
            if n_read >= len(waiting):
                break
            content = self._get(waiting[n_read]).content
            if b"<urlset" not in content and b"<sitemapindex" not in content:
                return (listed_addresses(content) if n_read == 0 else [*named]), n_foreign
            locations = [html.unescape(each.decode("utf-8", "replace")) for each in _LOCATION.findall(content)]
            own = [_normal(each) for each in locations if is_address(each) and urlsplit(each).netloc.lower() == host]
            n_foreign += len(locations) - len(own)
            if b"<sitemapindex" in content:
                waiting += [each for each in own if each not in waiting]
            else:
                named |= dict.fromkeys(own)
        return [*named], n_foreign

    def _get(self, address: str, *, asks_robots: bool = True) -> _Reply:
        """What is at `address`: status 200, or any without `asks_robots`, which is for a robots.txt."""
        until = time.monotonic() + _LONGEST_S
        try:
            url = httpx.URL(address)
            for _ in range(_MOST_REDIRECTS + 1):
                reply, url = self._ask(url, until, asks_robots=asks_robots)
                if reply is None:
                    continue
                if asks_robots and reply.status != 200:
                    raise UnreadableFileError(f"The server answered with status {reply.status}; check the address.")
                return reply
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise UnreadableFileError(f"The page could not be fetched ({said[:200]}). Try again later.") from None
        raise UnreadableFileError(f"The address leads on more than {_MOST_REDIRECTS} times.")

    def _ask(self, url: httpx.URL, until: float, *, asks_robots: bool) -> tuple[_Reply | None, httpx.URL]:
        """The reply of `url`, or None and the address that it leads on to."""
        host = url.raw_host.decode()
        address = self._checked_address(url, host)
        if asks_robots:
            self._heed_robots(url)
        self._wait(url)
        with self._client.stream(
            "GET",
            url.copy_with(host=address, fragment=None),
            headers={"Host": url.netloc.decode()},
            extensions={"sni_hostname": host},  # the certificate has to be the name's, not the address's
        ) as response:
            self._client.cookies.clear()
            if response.is_redirect and "location" in response.headers:
                return None, url.join(response.headers["location"])
            told = Message()
            told["content-type"] = response.headers.get("content-type", "application/octet-stream")
            reply = _Reply(
                status=response.status_code,
                content=_read(response, until),
                type=told.get_content_type() if "content-type" in response.headers else "",
                charset=(told.get_content_charset() or "").replace("utf8", "utf-8"),
                modified=response.headers.get("last-modified", ""),
            )
        return reply, url

    def _checked_address(self, url: httpx.URL, host: str) -> str:
        """An address of `host`, all of whose addresses may be asked."""
        if url.scheme not in ("http", "https") or not host:
            raise UnreadableFileError("It leads to no web address (http:// or https://).")
        try:
            found = self._look_up(host.strip("[]"), url.port, type=socket.SOCK_STREAM)
        except OSError:
            raise UnreadableFileError(f"There is no host '{host}', or the network does not reach it.") from None
        addresses = [str(each[4][0]) for each in sorted(found, key=lambda each: each[0] != socket.AF_INET)]
        if not self._allow_private and (private := next((each for each in addresses if not is_public(each)), "")):
            raise UnreadableFileError(
                f"'{host}' is in a private network ({private}), whose pages are not read. Whoever runs this program "
                "can allow it: FETCH_PRIVATE=1"
            )
        return addresses[0]

    def _heed_robots(self, url: httpx.URL) -> None:
        """Nothing if the site's robots.txt lets us read the page at `url`; `UnreadableFileError` otherwise."""
        site = f"{url.scheme}://{url.netloc.decode()}"
        if site not in self._robots:
            reply, parser = self._get(f"{site}/robots.txt", asks_robots=False), RobotFileParser()
            if reply.status >= 500:
                raise UnreadableFileError(
                    f"The site's robots.txt could not be read (status {reply.status}). Try later."
                )
            parser.parse(reply.content.decode("utf-8", "replace").splitlines() if reply.status == 200 else [])
            self._robots[site] = parser
        if not self._robots[site].can_fetch(_NAME, str(url)):
            raise UnreadableFileError("The site's robots.txt asks programs not to read this page.")

    def _wait(self, url: httpx.URL) -> None:
        """Waits until the host may be asked again."""
        site, host = f"{url.scheme}://{url.netloc.decode()}", url.netloc.decode()
        asked = self._robots[site].crawl_delay(_NAME) if site in self._robots else None
        pause_s = min(max(self._pause_s, float(asked or 0)), _LONGEST_PAUSE_S)
        time.sleep(max(0.0, self._asked_at.get(host, -pause_s) + pause_s - time.monotonic()))
        self._asked_at[host] = time.monotonic()


def listed_addresses(content: bytes) -> list[str]:
    """The addresses of a list that has nothing but one on each line, comments (#) aside; none for any other text."""
    lines = [line.strip() for line in content.decode("utf-8-sig", "replace").splitlines()]
    named = [line for line in lines if line and not line.startswith("#")]
    return (
        [_normal(each) for each in named] if all(is_address(each) and len(each.split()) == 1 for each in named) else []
    )


def is_public(address: str) -> bool:
    """Whether an IP address is of the internet, and of no machine or network around this one, however it is written."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner: Sequence[ipaddress.IPv4Address | None] = ()
    if isinstance(ip, ipaddress.IPv6Address):
        mapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _MAPPED else None
        inner = (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ()), mapped)
    return ip.is_global and not ip.is_multicast and all(each is None or each.is_global for each in inner)


def _normal(address: str) -> str:
    """`address` as a source is called: without blanks around it and what stands behind a #."""
    try:
        url = httpx.URL(address.strip())
    except (httpx.InvalidURL, UnicodeError, ValueError):
        raise UnreadableFileError("This is no web address. Write it like https://host/page.") from None
    if url.userinfo or not url.host or len(address) > 2_000:
        raise UnreadableFileError("A web address like https://host/page was expected, without a user or a password.")
    return str(url.copy_with(fragment=None))


def _skipped(source: str, sentence: str) -> SourceFile:
    return SourceFile(source=source, path=Path(), skipped=sentence)


def _read(response: httpx.Response, until: float) -> bytes:
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise UnreadableFileError(f"The page has more than {_MOST_BYTES // 2**20} MiB. Add it as a file.")
        if time.monotonic() > until:
            raise UnreadableFileError(f"The page did not come within {_LONGEST_S:g} s. Try again later.")
    return bytes(content)


def _as_utf8(reply: _Reply) -> bytes:
    """The text as UTF-8 with a mark, which counts for more than what a page says of itself."""
    try:
        return reply.content.decode(reply.charset).encode("utf-8-sig")
    except (LookupError, UnicodeError):
        return reply.content


def _suffix(address: str, reply: _Reply) -> str:
    """The suffix that says what came: by the type that the server names, else by the content and the address."""
    named = suffix_of(urlsplit(address).path)
    known = named if named in SUPPORTED_SUFFIXES else ""
    head = reply.content[:1024].lstrip().lower()
    if reply.type in _SUFFIX_OF:
        return _SUFFIX_OF[reply.type]
    if head.startswith(b"%pdf-"):
        return ".pdf"
    if reply.type.startswith("text/") or reply.type in ("", "application/octet-stream"):
        is_page = reply.type != "text/plain" and (b"<html" in head or head.startswith(b"<!doctype html"))
        if is_page or known or reply.type.startswith("text/") or b"\0" not in reply.content[:8192]:
            return ".html" if is_page else known or ".txt"
    if known and not reply.type.startswith(("image/", "audio/", "video/", "font/")):
        return known
    raise UnreadableFileError(f"It is of type '{reply.type or 'unknown'}', of which nothing is read.")
