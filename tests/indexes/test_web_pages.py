"""Web pages are read by their addresses, politely, and nothing of a private network is unless that is allowed."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fakes import KeywordEncoder

from indexes.corpus import Corpus
from indexes.errors import UnreadableFileError
from indexes.ingest import add_files
from indexes.paths import DataPaths
from indexes.types import FileOutcome
from indexes.web_pages import WebPages, is_public, listed_addresses

PDF = b"%PDF-1.4 broken"
HTML = "text/html; charset=utf-8"


class Site(ThreadingHTTPServer):
    """A site on loopback: path → (status, headers, content); what was asked for stands in `asked`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_address[1]}"

    def put(self, path: str, content: str | bytes, kind: str = HTML, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()} | (
            {"Content-Type": kind} if kind else {}
        )
        self.pages[path] = status, named, content.encode() if isinstance(content, str) else content


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))
        status, headers, content = self.server.pages.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def fetched(folder: Path, address: str) -> tuple[str, bytes]:
    """The suffix that says what came, and the content."""
    with WebPages(allow_private=True, pause_s=0) as pages:
        file = pages.fetch(address, folder)
    return file.suffix, file.read_bytes()


def refused(folder: Path, address: str, *, allow_private: bool = True) -> str:
    with WebPages(allow_private=allow_private, pause_s=0) as pages, pytest.raises(UnreadableFileError) as said:
        pages.fetch(address, folder)
    return str(said.value)


def test_a_page_is_a_source_by_its_address_and_read_again_when_it_has_changed(
    site: Site, paths: DataPaths, encoder: KeywordEncoder
) -> None:
    def add(*addresses: str) -> list[FileOutcome]:
        there = replace(paths, may_fetch_private=True)
        return [event.outcome for event in add_files(there, "pets", addresses, encoder) if event.outcome]

    site.put(
        "/cats",
        "<title>Cats</title><nav>Menu</nav><p>Cats purr at night.</p>",
        last_modified="Mon, 02 Jan 2023 03:04:05 GMT",
    )
    site.put("/data", '{"text": "Dogs bark."}', "application/json")
    (cats, data, gone) = add(f"{site.url}/cats#top", f"{site.url}/data", f"{site.url}/gone")
    assert (cats.source, cats.status, data.source) == (f"{site.url}/cats", "read", f"{site.url}/data#.json")
    assert (gone.status, gone.reason) == ("failed", "The server answered with status 404; check the address.")
    passages = {passage.source: passage for passage in Corpus.open(paths, "pets").passages()}
    assert (passages[cats.source].title, passages[cats.source].text.split("\n")[-1]) == ("Cats", "Cats purr at night.")
    assert (passages[cats.source].kind, passages[cats.source].date) == ("html", "2023-01-02")
    assert passages[data.source].text == "Dogs bark."
    site.put("/cats", "<p>Cats sleep.</p>")
    assert [each.status for each in add(f"{site.url}/cats", f"{site.url}/data")] == ["replaced", "unchanged"]


def test_a_sitemap_and_a_list_stand_for_their_pages_each_of_which_fails_alone(
    site: Site, paths: DataPaths, encoder: KeywordEncoder
) -> None:
    inner = f"<urlset><url><loc>{site.url}/a?x=1&amp;y=2</loc></url><url><loc>http://elsewhere.example/b</loc></url></urlset>"
    site.put("/sitemap.xml", f"<sitemapindex><loc> {site.url}/inner.xml.gz </loc></sitemapindex>", "application/xml")
    site.put("/inner.xml.gz", inner, "application/xml")
    site.put("/list.txt", f"# pages\n{site.url}/c\n\n{site.url}/missing\n", "text/plain")
    with WebPages(allow_private=True, pause_s=0) as pages:
        found = pages.sources([f"{site.url}/sitemap.xml", f"{site.url}/list.txt", "http://me:secret@localhost/x"])
    assert [each.source for each in found[:1] + found[2:4]] == [
        f"{site.url}/{n}" for n in ("a?x=1&y=2", "c", "missing")
    ]
    assert found[1].skipped == "1 addresses passed over: a sitemap speaks for its own host alone"
    assert "without a user or a password" in found[4].refusal


def test_no_list_is_made_of_an_ordinary_text() -> None:
    assert listed_addresses(b"https://a.example/x\nhttps://b.example/#y\n") == [
        "https://a.example/x",
        "https://b.example/",
    ]
    assert listed_addresses(b"See https://a.example/x\nand others.\n") == []


@pytest.mark.parametrize(
    ("path", "kind", "content", "suffix"),
    [
        ("/paper/2406.12169", "application/pdf", PDF, ".pdf"),
        ("/paper/2406.12169", "application/octet-stream", PDF, ".pdf"),
        ("/readme.md", HTML, b"<html><p>x</p></html>", ".html"),
        ("/readme.md", "text/plain", b"# x <html>", ".md"),
        ("/notes", "text/plain; charset=utf-8", b"plain", ".txt"),
        ("/t.csv", "text/csv", b"a,b\n1,2\n", ".csv"),
        ("/index.php", "", b"<!DOCTYPE html><p>x</p>", ".html"),
    ],
)
def test_what_came_is_told_by_its_type_then_by_its_content(
    site: Site, tmp_path: Path, path: str, kind: str, content: bytes, suffix: str
) -> None:
    site.put(path, content, kind)
    assert fetched(tmp_path, site.url + path) == (suffix, content)


def test_the_charset_of_the_server_counts(site: Site, tmp_path: Path) -> None:
    site.put("/p", "<p>Straße</p>".encode("utf-16-le"), "text/html; charset=utf-16-le")
    assert fetched(tmp_path, f"{site.url}/p")[1].decode("utf-8-sig") == "<p>Straße</p>"


def test_what_is_too_large_endless_or_of_no_kind_is_a_sentence(site: Site, tmp_path: Path) -> None:
    site.put("/bomb", gzip.compress(b"0" * (2**26 + 2**20)), content_encoding="gzip")
    site.put("/photo", b"\x89PNG", "image/png")
    site.put("/loop", b"", status=302, location="/loop")
    site.put("/file", b"", status=302, location="file:///etc/passwd")
    said = {name: refused(tmp_path, f"{site.url}/{name}") for name in ("bomb", "photo", "loop", "file")}
    assert "more than 64 MiB" in said["bomb"]
    assert "'image/png', of which nothing is read" in said["photo"]
    assert "leads on more than 5 times" in said["loop"]
    assert "no web address" in said["file"]
    assert "no host 'nowhere.invalid'" in refused(tmp_path, "http://nowhere.invalid/")
    assert "could not be fetched" in refused(tmp_path, "http://localhost:9/")


def test_robots_are_respected_also_where_a_page_leads_on(site: Site, tmp_path: Path) -> None:
    site.put("/robots.txt", "User-agent: *\nDisallow: /private\n", "text/plain")
    site.put("/private/x", "<p>x</p>")
    site.put("/open", b"", status=301, location="/private/x")
    for path in ("/private/x", "/open"):
        assert "robots.txt asks programs not to read" in refused(tmp_path, site.url + path)
    assert "/private/x" not in {path for _, path in site.asked}
    site.put("/robots.txt", "", status=503)
    assert "robots.txt could not be read (status 503)" in refused(tmp_path, f"{site.url}/open")


def test_a_host_is_given_time(site: Site, tmp_path: Path) -> None:
    site.put("/robots.txt", "User-agent: *\nCrawl-delay: 1\n", "text/plain")
    site.put("/a", "<p>x</p>")
    began = time.monotonic()
    fetched(tmp_path, f"{site.url}/a")
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",  # noqa: S104
            "224.0.0.1",
        ),
        *("::1", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "::"),
    ],
)
def test_a_private_address_is_none_of_the_internet(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_asked() -> None:
    assert all(map(is_public, ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e")))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_this_machine_is_asked_only_where_that_is_allowed(site: Site, tmp_path: Path, host: str) -> None:
    address = f"http://{host}:{site.server_address[1]}/"
    assert "FETCH_PRIVATE=1" in refused(tmp_path, address, allow_private=False)
    assert site.asked == []


def test_a_name_that_is_bound_anew_leads_nowhere_else(site: Site, tmp_path: Path) -> None:
    """The address that was checked is the one that is asked: a second look-up would find another."""
    looked_up: list[str] = []

    def rebound(host: str, port: int | None, **options: object) -> list[tuple[object, ...]]:
        looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) <= 2 else "127.0.0.2"  # robots.txt is a request of its own
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 80))]

    site.put("/", "<p>x</p>")
    name = f"rebound.example:{site.server_address[1]}"
    with WebPages(allow_private=True, pause_s=0, look_up=rebound) as pages:
        assert pages.fetch(f"http://{name}/", tmp_path).read_bytes() == b"<p>x</p>"
    assert looked_up == ["rebound.example"] * 2
    assert site.asked == [(name, "/robots.txt"), (name, "/")]


def test_a_name_is_refused_if_any_of_its_addresses_is_private(tmp_path: Path) -> None:
    def mixed(host: str, port: int | None, **options: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.215.14", "10.0.0.1")]

    with WebPages(pause_s=0, look_up=mixed) as pages, pytest.raises(UnreadableFileError, match="private network"):
        pages.fetch("http://mixed.example/", tmp_path)
