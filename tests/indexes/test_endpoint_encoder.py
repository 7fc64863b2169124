"""An encoder behind an endpoint gives checked unit vectors, and its errors are sentences without the key."""

import pytest
from scripted_endpoint import ScriptedEndpoint

from indexes.encoders.endpoint import EndpointEncoder, load_endpoint_encoder
from indexes.encoders.loading import load_encoder
from indexes.errors import EndpointError
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths, EmbeddingsEndpoint

KEY = "sk-very-secret"


def connect(endpoint: ScriptedEndpoint, model: str = "scripted", key: str = KEY) -> EndpointEncoder:
    return load_endpoint_encoder(f"openai:{model}", EmbeddingsEndpoint(base_url=endpoint.base_url, api_key=key))


def test_vectors_are_unit_and_in_the_order_of_the_texts() -> None:
    texts = [f"text number {n}" for n in range(150)]
    with ScriptedEndpoint(shuffle_embeddings=True) as endpoint:
        encoder = connect(endpoint)
        vectors = encoder.encode_passages(texts)
        one_by_one = [encoder.encode_queries([text])[0] for text in texts[::50]]
    assert vectors.shape == (150, encoder.dimension)
    assert (vectors**2).sum(axis=1) == pytest.approx(1, abs=1e-5)
    for vector, alone in zip(vectors[::50], one_by_one, strict=True):
        assert vector == pytest.approx(alone, abs=1e-6)
    assert encoder.encode_passages([]).shape == (0, encoder.dimension)


def test_a_corpus_is_indexed_and_searched(
    paths: DataPaths, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for word in ("cats", "dogs", "mars"):
        (folder / f"{word}.txt").write_text(f"{word} {word} {word}", encoding="utf-8")
    with ScriptedEndpoint(api_key=KEY) as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        encoder = load_encoder("openai:scripted", paths)
        list(add_files(paths, "words", sorted(folder.iterdir()), encoder))
        (found,) = PassageIndex.open(paths, "words", encoder).search("mars mars", 1)
    assert found.passage.source == "mars.txt"


def test_a_batch_that_is_too_large_for_the_endpoint_is_halved() -> None:
    with ScriptedEndpoint(max_inputs=5) as endpoint:
        encoder = connect(endpoint)
        assert encoder.encode_passages([f"text {n}" for n in range(40)]).shape == (40, encoder.dimension)


def test_a_text_that_is_too_long_for_the_endpoint_is_halved_and_averaged() -> None:
    with ScriptedEndpoint() as endpoint:
        encoder = connect(endpoint)
        halves = ["purr " * 99 + "purr ", "bark " * 100]
        expected = encoder.encode_passages([halves[0], halves[1]]).mean(axis=0)
        endpoint.longest = 600
        found = encoder.encode_passages(["short", "".join(halves)])
        assert found[1] == pytest.approx(expected / (expected**2).sum() ** 0.5, abs=5e-3)
        endpoint.longest = 10
        with pytest.raises(EndpointError, match=r"status 413 .* a text that begins 'Rules of leave and"):
            encoder.encode_passages(["Rules of leave\nand pay"])


@pytest.mark.parametrize(
    ("message", "wait_s", "sentence"),
    [
        (f"You exceeded your current quota, {KEY}", 0.01, "no credit left"),
        ("slow down", 600, "asks to wait 10 minutes"),
    ],
)
def test_what_no_second_try_helps_against_is_said_at_once(message: str, wait_s: float, sentence: str) -> None:
    with ScriptedEndpoint() as endpoint:
        encoder = connect(endpoint)
        endpoint.fail(429, message, retry_after_s=wait_s)
        with pytest.raises(EndpointError, match=sentence) as said:
            encoder.encode_passages(["one"])
        assert endpoint.paths.count("/v1/embeddings") == 2
    assert KEY not in str(said.value)


def test_prefixes_stand_before_questions_and_passages_and_make_another_encoder() -> None:
    with ScriptedEndpoint() as endpoint:
        at = EmbeddingsEndpoint(base_url=endpoint.base_url, query_prefix="query: ", passage_prefix="passage: ")
        encoder = load_endpoint_encoder("openai:scripted", at)
        encoder.encode_queries(["why?"])
        encoder.encode_passages(["because"])
        assert endpoint.embedded[-2:] == ["query: why?", "passage: because"]
        assert encoder.fingerprint != connect(endpoint).fingerprint


@pytest.mark.parametrize(
    ("text", "n_tokens"),
    [("员工每年有二十五天假期。", 12), ("Cats purr.", 3), ("Правила", 4), ("วันลา", 5)],
)
def test_tokens_are_estimated_by_script(text: str, n_tokens: int) -> None:
    """A token of Chinese is about a character: as four letters a token, passages would be four times too long."""
    with ScriptedEndpoint() as endpoint:
        spans = connect(endpoint).tokenizer.spans(text)
    assert len(spans) == n_tokens
    assert "".join(text[a:b] for a, b in spans) == "".join(text.split())


def test_overload_is_tried_again() -> None:
    with ScriptedEndpoint() as endpoint:
        encoder = connect(endpoint)
        endpoint.fail(429, retry_after_s=0.01, times=2)
        assert len(encoder.encode_passages(["one", "two"])) == 2
        endpoint.fail(503, retry_after_s=0.01, times=6)
        with pytest.raises(EndpointError, match=r"status 503 .* try again later"):
            encoder.encode_passages(["one"])


def test_a_wrong_key_is_said_without_the_key() -> None:
    """The scripted endpoint repeats the key in its message, as real ones do."""
    with ScriptedEndpoint(api_key="another") as endpoint, pytest.raises(EndpointError, match="OPENAI_API_KEY") as said:
        connect(endpoint)
    assert KEY not in str(said.value)
    assert said.value.__suppress_context__


def test_an_unknown_model_and_a_missing_key_are_said(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedEndpoint() as endpoint, pytest.raises(EndpointError, match=r"status 404 .*model's name"):
        connect(endpoint, model="nobody")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EndpointError, match="OPENAI_API_KEY is not set"):
        load_encoder("openai:scripted", paths)


def test_vectors_that_change_their_dimension_are_refused() -> None:
    with ScriptedEndpoint() as endpoint:
        encoder = connect(endpoint)
        endpoint.dimension += 1
        with pytest.raises(EndpointError, match=r"should send 2 vectors of 16 dimensions, .* of \[17\]"):
            encoder.encode_passages(["one", "two"])
        endpoint.dimension = 0
        with pytest.raises(EndpointError, match="should send"):
            encoder.encode_passages(["one"])


def test_the_fingerprint_tells_models_and_endpoints_apart() -> None:
    with ScriptedEndpoint(models=("small", "large")) as one, ScriptedEndpoint(models=("small",)) as other:
        encoders = [connect(one, "small"), connect(one, "large"), connect(other, "small"), connect(one, "small")]
    prints = [encoder.fingerprint for encoder in encoders]
    assert len(set(prints)) == 3
    assert prints[0] == prints[3]
