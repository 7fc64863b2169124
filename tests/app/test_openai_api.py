"""The page as OpenAI's API, asked by OpenAI's own client over HTTP: a corpus is a model, and a key opens the door."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import openai
import pytest
from browsing import free_port
from scripted_endpoint import ScriptedEndpoint

from app.__main__ import launch
from app.settings import Settings
from app.workbench import Workbench
from indexes.errors import InputError

pytestmark = pytest.mark.slow
KEY, OTHER = "key-of-the-first-client", "key-of-the-second-client"
QUESTION = {"role": "user", "content": "Why do honey bees dance?"}


def open_page(bench: Workbench, **settings: object) -> Iterator[str]:
    port = free_port()
    page = launch(bench, Settings.model_validate({"data_dir": bench.paths.root, "app_port": port, **settings}))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        page.close(verbose=False)


@pytest.fixture
def address(bench: Workbench, corpus: str) -> Iterator[str]:
    yield from open_page(bench, app_api_keys=f"{KEY}, {OTHER}")


@pytest.fixture
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=OTHER, max_retries=0)


def test_a_corpus_answers_with_citations_whole_and_streamed(
    client: openai.OpenAI, endpoint: ScriptedEndpoint, corpus: str
) -> None:
    assert [model.id for model in client.models.list()] == [corpus]
    whole = client.chat.completions.create(model=corpus, messages=[QUESTION])
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Bees dance [1].", "stop")
    assert whole.model_extra is not None
    source = whole.model_extra["sources"][0]
    assert (source["number"], source["source"]) == (1, "bees.txt")
    assert whole.model_extra["citations"] == [{"start": 11, "end": 14, "numbers": [1]}]
    pieces = list(client.chat.completions.create(model=corpus, messages=[QUESTION], stream=True))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "Bees dance [1]."
    assert len(pieces) > 3
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert (pieces[-1].model_extra or {})["sources"][0]["source"] == "bees.txt"
    endpoint.fail(401, "wrong key sk-very-secret")
    with pytest.raises(openai.InternalServerError, match="rejects the API key") as said:
        client.chat.completions.create(model=corpus, messages=[QUESTION])
    assert "sk-very" not in str(said.value)
    with pytest.raises(openai.APIError, match="rejects the API key"):
        list(client.chat.completions.create(model=corpus, messages=[QUESTION], stream=True))


def test_a_follow_up_is_searched_in_the_light_of_what_was_said(
    client: openai.OpenAI, endpoint: ScriptedEndpoint, corpus: str
) -> None:
    endpoint.reply = lambda messages: "Why do tides rise?" if "rewrite" in str(messages).lower() else "By the moon [1]."
    said = [
        {"role": "system", "content": "Talk like a pirate."},
        {"role": "user", "content": [{"type": "text", "text": "What are tides?"}]},
        {"role": "assistant", "content": "The sea that moves."},
        {"role": "user", "content": "Why do they rise?"},
    ]
    answer = client.chat.completions.create(model=corpus, messages=said)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "By the moon [1]."
    assert "What are tides?" in endpoint.requests[0].text
    assert "Why do tides rise?" in endpoint.requests[-1].text
    assert not any("pirate" in request.text for request in endpoint.requests)


def test_the_encoder_of_the_corpus_embeds(client: openai.OpenAI, bench: Workbench, corpus: str) -> None:
    expected = bench.retrievers.encoder("keywords").encode_queries(["bees dance", "tides"]).tolist()
    for encoding in ({}, {"encoding_format": "float"}):  # the client asks for base64 by itself
        reply = client.embeddings.create(model=corpus, input=["bees dance", "tides"], **encoding)  # type: ignore[arg-type]
        assert [each.embedding for each in reply.data] == [pytest.approx(vector) for vector in expected]
    with pytest.raises(openai.BadRequestError, match="texts are read, no tokens"):
        client.embeddings.create(model=corpus, input=[[1, 2]])
    with pytest.raises(openai.BadRequestError, match="leave dimensions out"):
        client.embeddings.create(model=corpus, input="x", dimensions=7)


def test_what_is_wrong_is_said_in_the_shape_of_the_api(address: str, client: openai.OpenAI, corpus: str) -> None:
    with pytest.raises(openai.NotFoundError, match="There is no corpus 'gone'") as missing:
        client.chat.completions.create(model="gone", messages=[QUESTION])
    assert missing.value.code == "model_not_found"
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
    for messages, sentence in (
        ([], "messages"),
        ([{"role": "user", "content": " "}], "Type a question"),
        ([picture], "Only text is read"),
        ([QUESTION, {"role": "assistant", "content": "x"}], "last message"),
    ):
        with pytest.raises(openai.BadRequestError, match=sentence):
            client.chat.completions.create(model=corpus, messages=messages)  # type: ignore[arg-type]
    for key in ("", "Bearer", "Bearer wrong-key-of-nobody", f"Basic {KEY}", f"Bearer {KEY}, {OTHER}"):
        refused = httpx.get(f"{address}/v1/models", headers={"Authorization": key})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    keyed = {"Authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{address}/v1/models", headers=keyed).status_code == 200
    assert httpx.get(f"{address}/v1/models", headers=keyed | {"Host": "evil.example"}).status_code == 421
    assert httpx.get(f"{address}/v1/models", headers=keyed | {"Origin": "https://evil.example"}).status_code == 403
    assert httpx.get(f"{address}/v1/nothing", headers=keyed).json()["error"]["message"].startswith("There is no method")
    assert httpx.get(f"{address}/config").status_code == 200, "the page is there beside it"


def test_without_keys_there_is_no_door_and_weak_ones_are_refused(bench: Workbench, corpus: str) -> None:
    for address in open_page(bench):
        reply = httpx.get(f"{address}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
        assert corpus not in reply.text
        assert reply.status_code == 404
    with pytest.raises(InputError, match="fewer than 16 characters") as said:
        _ = Settings.model_validate({"app_api_keys": f"{KEY},short-key"}).api_keys
    assert "short-key" not in str(said.value)
