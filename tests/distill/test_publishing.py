"""What leaves the machine: a folder that appears whole, a card without private texts, a push that says what failed."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer
from tiny_encoders import tiny_transformer

from distill.retriever.publishing import (
    BY_ORDERS,
    WITHOUT_ORDERS,
    Card,
    PublishingError,
    base_license,
    card_text,
    push_encoder,
    save_encoder,
    write_card,
)
from distill.retriever.training import side, two_sided
from indexes.encoders.finding import DEFAULT_ENCODER, find_encoder
from indexes.errors import InputError
from indexes.paths import DataPaths

CARD = Card(
    name="mine",
    base="all-MiniLM-L6-v2",
    corpus="hand\nbook | x",
    teacher="an LLM",
    questions="12, given in a file",
    license="apache-2.0",
    settings={"epochs": 2},
    figures={"nDCG@10": 0.61},
)
TOKEN = "hf_secret"


class FakeHub:
    """The part of a hub that creating a repository and uploading a folder talk to."""

    def __init__(self, status: int) -> None:
        self.files: list[str] = []
        self.requests: list[tuple[str, str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub.requests.append((self.path, self.headers.get("Authorization", "")))
                code, reply = hub.answer(self.path, body, status)
                content = json.dumps(reply).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str, body: bytes, status: int) -> tuple[int, object]:
        if status != 200:
            return status, {"error": "no"}
        if path.endswith("/repos/create"):
            return 200, {"url": f"{self.address}/me/mine", "name": "me/mine"}
        if "/preupload/" in path:
            files = [each["path"] for each in json.loads(body)["files"]]
            return 200, {"files": [{"path": each, "uploadMode": "regular", "shouldIgnore": False} for each in files]}
        if "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            self.files += [line["value"]["path"] for line in lines if line["key"] == "file"]
            return 200, {"commitUrl": f"{self.address}/me/mine/commit/0", "commitOid": "0" * 40, "hookOutput": ""}
        return 200, {}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> Iterator[FakeHub]:
    running = FakeHub(getattr(request, "param", 200))
    yield running
    running.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return tiny_transformer(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def folder(model: SentenceTransformer, paths: DataPaths) -> Path:
    save_encoder(model, paths.encoder("mine"), CARD)
    return paths.encoder("mine")


def test_the_card_is_read_by_a_hub_and_by_people() -> None:
    _, front, body = card_text(CARD).split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "apache-2.0"
    assert "| corpus | hand book \\| x |" in body
    assert "| nDCG@10 | 0.61 |" in body
    assert "encode_query" in body


def test_the_card_says_what_was_learned_from() -> None:
    assert BY_ORDERS in card_text(CARD)
    text = card_text(replace(CARD, lesson=WITHOUT_ORDERS))
    assert WITHOUT_ORDERS in text and BY_ORDERS not in text


def langchains_wrapper() -> ModuleType:
    """langchain-huggingface 1.2, which is not installed here, as far as it calls the library."""

    class HuggingFaceEmbeddings:
        def __init__(self, *, model_name: str, encode_kwargs: dict[str, Any], query_encode_kwargs: dict[str, Any]):
            self.model = SentenceTransformer(model_name, device="cpu")
            self.options, self.query_options = encode_kwargs, query_encode_kwargs

        def embed_documents(self, texts: list[str]) -> Any:
            return self.model.encode([text.replace("\n", " ") for text in texts], **self.options)

        def embed_query(self, text: str) -> Any:
            return self.model.encode([text.replace("\n", " ")], **self.query_options)[0]

    module = ModuleType("langchain_huggingface")
    vars(module)["HuggingFaceEmbeddings"] = HuggingFaceEmbeddings
    return module


@pytest.mark.parametrize("sides", [1, 2])
def test_the_cards_recipes_take_the_right_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: SentenceTransformer, sides: int
) -> None:
    other = tiny_transformer(tmp_path / "other", seed=1)
    wanted = two_sided(side(other, "query"), side(model, "document"), like=model) if sides == 2 else model
    save_encoder(wanted, tmp_path / "mine", CARD)
    card = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    assert ("encoders of their own" in card) == (sides == 2)
    monkeypatch.setitem(sys.modules, "langchain_huggingface", langchains_wrapper())
    card = card.replace("path or name of this model", str(tmp_path / "mine"))
    card = card.replace("path of a folder", str(tmp_path / "chroma"))
    left: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL):
        exec(block, left)  # noqa: S102  # the card's own code
    question = wanted.encode_query("a question", normalize_embeddings=True)
    passage = wanted.encode_document("a title\na passage", normalize_embeddings=True)
    np.testing.assert_allclose(left["questions"][0], question, atol=1e-5)
    np.testing.assert_allclose(left["embeddings"].embed_query("a question"), question, atol=1e-5)
    np.testing.assert_allclose(left["embeddings"].embed_documents(["a title\na passage"])[0], passage, atol=1e-5)
    assert left["found"]["distances"][0][0] == pytest.approx(1 - question @ passage, abs=1e-5)


def test_a_two_sided_encoder_asked_for_no_side_says_so(tmp_path: Path, model: SentenceTransformer) -> None:
    """LangChain's and Chroma's wrappers would search with passages' vectors of questions, and find less."""
    save_encoder(two_sided(side(model, "query"), side(model, "document"), like=model), tmp_path / "mine", CARD)
    with pytest.raises(ValueError, match="task='query' and task='document'"):
        SentenceTransformer(str(tmp_path / "mine"), device="cpu").encode("a question")


def test_without_a_known_licence_the_card_claims_none() -> None:
    text = card_text(Card(name="n", base="b", corpus="c", teacher="t", questions="q"))
    assert "license" not in yaml.safe_load(text.split("---\n", 2)[1])
    assert "look it up" in text


def test_the_saved_folder_holds_our_card_only_and_figures_can_be_added(
    model: SentenceTransformer, folder: Path
) -> None:
    """The library's own card would quote questions and passages of the training."""
    model.model_card_data.widget = [{"text": "a private question"}]
    assert (folder / "README.md").read_text() == card_text(CARD)
    assert SentenceTransformer(str(folder), device="cpu").get_embedding_dimension() == 16
    better = Card(name="n", base="b", corpus="c", teacher="t", questions="q", figures={"hit@1": "0.5"})
    write_card(folder, better)
    assert "hit@1" in (folder / "README.md").read_text()
    assert not list(folder.parent.glob(".*"))


def test_the_bases_licence_is_read_from_its_card(tmp_path: Path, paths: DataPaths) -> None:
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# A base\nlicense: gpl\n")
    assert base_license("any", tmp_path) == "mit"
    (tmp_path / "README.md").write_text("# A base without front matter\nlicense: gpl\n")
    assert base_license("any", tmp_path) == ""
    assert base_license("any", None) == ""
    assert base_license(DEFAULT_ENCODER, find_encoder(DEFAULT_ENCODER, paths)) == "apache-2.0"


def test_a_push_creates_the_repository_and_uploads_every_file(hub: FakeHub, folder: Path) -> None:
    address = push_encoder(folder, "me/mine", TOKEN, endpoint=hub.address)
    assert address.endswith("me/mine")
    expected = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(hub.files) == expected
    assert {"README.md", "modules.json", "model.safetensors"} <= expected
    assert {key for _, key in hub.requests} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("hub", "said"), [(401, "right to write"), (403, "right to write"), (500, "refused")], indirect=["hub"]
)
def test_a_refused_push_says_why_and_keeps_the_token_secret(hub: FakeHub, folder: Path, said: str) -> None:
    with pytest.raises(PublishingError, match=said) as caught:
        push_encoder(folder, "me/mine", TOKEN, endpoint=hub.address)
    assert TOKEN not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_said(folder: Path, hub: FakeHub) -> None:
    hub.close()
    with pytest.raises(PublishingError, match="cannot be reached"):
        push_encoder(folder, "me/mine", TOKEN, endpoint=hub.address)


def test_wrong_arguments_of_a_push_are_said_before_anything_is_sent(folder: Path, hub: FakeHub, tmp_path: Path) -> None:
    for arguments, said in (
        ((folder, "a/b/c", TOKEN), "owner/name"),
        ((folder, "me/mine", " "), "access token"),
        ((tmp_path, "me/mine", TOKEN), "no trained encoder"),
    ):
        with pytest.raises(InputError, match=said):
            push_encoder(*arguments, endpoint=hub.address)
    assert hub.requests == []
