"""A workbench over a fake encoder and a scripted LLM: no model, no network beyond loopback."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
import pytest
from browsing import Chromium
from fakes import KeywordEncoder
from playwright.sync_api import Browser
from scripted_endpoint import ScriptedEndpoint

from app.handlers import corpora
from app.handlers.corpora import CorporaView
from app.jobs.jobs import Jobs
from app.retriever import Retrievers
from app.ui.page import build_app
from app.workbench import Background, Reader, Workbench
from distill.llm.connection import LLMConfig
from indexes.corpus import Corpus
from indexes.ingest import add_files, update_index
from indexes.paths import DataPaths

TEXTS = {
    "bees.txt": "Honey bees dance to tell the hive where flowers grow.",
    "tides.txt": "Tides rise and fall because the moon pulls the sea.",
    "bread.txt": "Sourdough bread rises slowly with wild yeast.",
    "glass.txt": "Glass is made by melting sand in a furnace.",
}


_CHROMIUM = Chromium()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Closes the browser after the last of the files in a row that use it; between, some tests only look at files."""
    yield
    if nextitem is None or not nextitem.get_closest_marker("browser"):
        _CHROMIUM.close()


@pytest.fixture(scope="module")
def browser() -> Browser:
    """The one browser of the browser's tests, which tests/conftest.py marks by this fixture and keeps together."""
    return _CHROMIUM.browser()


def named_encoder(name: str) -> KeywordEncoder:
    """An encoder whose vectors nobody else's are."""
    return KeywordEncoder(name, fingerprint=f"of-{name}")


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(lambda messages: "Bees dance [1].") as endpoint:
        yield endpoint


def make_bench(paths: DataPaths, base_url: str) -> Workbench:
    """A workbench without a corpus, whose baseline encoder is called 'keywords'."""
    config = LLMConfig(base_url=base_url, api_key="a-key", model="scripted")
    return Workbench(
        paths=paths,
        encoder="keywords",
        retrievers=Retrievers(paths, "keywords", lambda name, paths: named_encoder(name)),
        reader=Reader(config, paths),
        background=Background({}),
        jobs=Jobs(paths),
    )


@pytest.fixture
def bench(paths: DataPaths, endpoint: ScriptedEndpoint) -> Workbench:
    return make_bench(paths, endpoint.base_url)


@pytest.fixture(scope="session")
def empty_page(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    """A page without a corpus, made once: to be looked at."""
    return build_app(make_bench(DataPaths(tmp_path_factory.mktemp("empty")), "http://127.0.0.1:9/v1"))


@pytest.fixture
def write_files(tmp_path: Path) -> Callable[[dict[str, str]], list[str]]:
    """Writes texts by file name, as an upload would leave them."""

    def write(texts: dict[str, str]) -> list[str]:
        folder = tmp_path / "uploads"
        folder.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        return [str(folder / name) for name in texts]

    return write


@pytest.fixture
def upload(bench: Workbench) -> Callable[[list[str], str], CorporaView]:
    """Hands files in for a corpus, and gives what the Corpora tab shows once they are in it."""

    def upload(files: list[str], corpus: str) -> CorporaView:
        view = corpora.add(bench, files, corpus, "")
        assert view.files is None, view.said
        while bench.background.is_busy:
            time.sleep(0.01)
        return corpora.list_corpora_view(bench, corpus)

    return upload


@pytest.fixture(scope="session")
def nature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data folders, made once to be copied: "indexed" with a corpus, "taught" with a second index of it."""
    folder = tmp_path_factory.mktemp("nature")
    paths, baseline, second = DataPaths(folder / "indexed"), named_encoder("keywords"), named_encoder("taught")
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    list(add_files(paths, "nature", [folder / name for name in TEXTS], baseline))
    taught = DataPaths(shutil.copytree(paths.root, folder / "taught"))
    taught.encoder("taught").mkdir(parents=True)
    list(update_index(taught, Corpus.open(taught, "nature"), second))
    return folder


@pytest.fixture
def corpus(bench: Workbench, nature: Path) -> str:
    """The name of a corpus of four small files, indexed by the baseline encoder."""
    shutil.copytree(nature / "indexed", bench.paths.root, dirs_exist_ok=True)
    return "nature"


@pytest.fixture
def taught(bench: Workbench, corpus: str, nature: Path) -> str:
    """The name of a second encoder that the corpus is indexed with, as a distillation leaves it."""
    shutil.rmtree(bench.paths.root)
    shutil.copytree(nature / "taught", bench.paths.root)
    return "taught"
