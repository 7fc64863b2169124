"""A browser as a visitor's: what the page's tests share."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
PATIENCE_MS = 60_000


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Chromium:
    """Headless Chromium, this machine's own, started when it is first asked for and then shared.

    While it is open its library's event loop counts as running in this thread, where nobody else may run one: close it
    when the next test is not a browser's.
    """

    def __init__(self) -> None:
        self._opened = ExitStack()
        self._browser: Browser | None = None

    def browser(self) -> Browser:
        """The browser; each test opens contexts of its own in it."""
        if self._browser is None:
            program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
            if program is None:
                pytest.fail("There is no Chromium for the browser test: run make test, which installs it.")
            playwright = self._opened.enter_context(sync_playwright())
            self._browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
            self._opened.callback(self._browser.close)
        return self._browser

    def close(self) -> None:
        """Ends it, if it was started."""
        self._browser = None
        self._opened.close()


@contextmanager
def visit(browser: Browser, address: str, borne: str = "(?!)") -> Iterator[Page]:
    """A new visitor's page; in the end its console may not have complained but of what matches `borne`, nor any other
    host have been asked.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    wrongs: list[str] = []

    def see(message: ConsoleMessage) -> None:
        if message.type == "error":
            wrongs.append(message.text)

    page.on("console", see)
    page.on("pageerror", lambda error: wrongs.append(str(error)))
    page.on("dialog", lambda dialog: (wrongs.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: wrongs.append(request.url[:60]) if _is_elsewhere(request.url) else None)
    # gradio's client calls it an error when a page is left while one of its requests is under way: nobody's fault
    page.on("framenavigated", lambda frame: _forget(wrongs, _LEFT))
    page.goto(address)
    yield page
    context.close()
    unborne = [wrong for wrong in wrongs if not re.match(borne, wrong)]
    assert not unborne, f"the page's console complained: {unborne}"


_LEFT = "AbortError: signal is aborted|Unexpected error Connection errored out"


def _forget(wrongs: list[str], pattern: str) -> None:
    wrongs[:] = [wrong for wrong in wrongs if not re.match(pattern, wrong)]


def _is_elsewhere(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1"


def open_tab(page: Page, name: str) -> None:
    """Opens the tab called `name`."""
    page.get_by_role("tab", name=name, exact=True).click()


def field(page: Page, element_id: str) -> Locator:
    """What is typed into in the component `element_id`."""
    return page.locator(f"#{element_id}").locator("input, textarea").first


# What gradio's own markup breaks and no option of it mends: rule, and what the element begins with.
EXCLUDED = (
    ("nested-interactive", '<div class="toast-header'),  # a notice that folds up, with its closing button inside
)


def expect_accessible(page: Page) -> None:
    """Nothing that is shown breaks a rule of WCAG 2.1, A or AA, that axe-core can see, but for what is `EXCLUDED`."""
    page.wait_for_timeout(300)  # colours that change take a moment
    rules = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]}).response["violations"]
    broken = [
        f"{rule['id']}: {node['html']}: {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
        if not any(rule["id"] == name and node["html"].startswith(begins) for name, begins in EXCLUDED)
    ]
    assert not broken, "\n".join(broken)


def shoot(page: Page, name: str) -> None:
    """Keeps the tab in both themes, which all can read, and at a telephone's width, where nothing may stick out."""
    ARTIFACTS.mkdir(exist_ok=True)
    for ending in ("-dark", ""):
        page.evaluate(f"document.body.classList.toggle('dark', {str(bool(ending)).lower()})")
        page.screenshot(path=ARTIFACTS / f"{name}{ending}.png", full_page=True, animations="disabled")
        if ending:
            expect_accessible(page)
    page.set_viewport_size({"width": 390, "height": 844})
    expect_accessible(page)  # in the light theme; a narrow page has parts to scroll that a wide one has not
    page.screenshot(path=ARTIFACTS / f"{name}-390.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
