"""Encoders are found by name, known by fingerprint, and give the vectors that anyone else would get."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from tiny_encoders import tiny_static, tiny_transformer, with_foreign_code

from indexes.encoders.finding import DEFAULT_ENCODER, find_encoder, hub_answers, open_model
from indexes.encoders.loading import load_encoder, load_trainable
from indexes.encoders.torch import SentenceTransformerEncoder
from indexes.errors import InputError, NotFoundError, WeightsError
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformerEncoder:
    return load_trainable(DEFAULT_ENCODER, DataPaths(tmp_path_factory.mktemp("data")))


def test_the_default_encoder_gives_unit_vectors_by_meaning(default: SentenceTransformerEncoder) -> None:
    vectors = default.encode_passages(["The cat sat on the mat.", "A kitten rests on a rug.", "Stocks fell sharply."])
    assert vectors.shape == (3, default.dimension) == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > far + 0.2


def test_token_spans_cover_text_beyond_the_models_limit(default: SentenceTransformerEncoder) -> None:
    text = "word " * 1000
    spans = default.tokenizer.spans(text)
    assert len(spans) == 1000
    assert text[slice(*spans[999])] == "word"


def test_a_saved_encoder_is_found_by_name_and_equals_what_anyone_loads(
    default: SentenceTransformerEncoder, paths: DataPaths
) -> None:
    default.model.save_pretrained(str(paths.encoder("mine")))
    mine = load_encoder("mine", paths, "fp32")
    theirs = SentenceTransformer(str(paths.encoder("mine"))).encode(["hello world"], normalize_embeddings=True)
    assert mine.encode_queries(["hello world"]) == pytest.approx(theirs, abs=1e-6)
    assert mine.fingerprint == default.fingerprint


def test_the_fingerprint_changes_with_a_weight_a_prompt_or_the_length(
    default: SentenceTransformerEncoder, paths: DataPaths
) -> None:
    folder = paths.encoder("changed")
    default.model.save_pretrained(str(folder))

    def fingerprint_after(change: str) -> str:
        model = SentenceTransformer(str(folder))
        if change == "weight":
            with torch.no_grad():
                next(model.parameters())[0, 0] += 0.01
        elif change == "prompt":
            model.prompts = {"query": "query: ", "document": ""}
        else:
            model.max_seq_length = 64
        return SentenceTransformerEncoder("changed", model).fingerprint

    assert len({default.fingerprint, *(fingerprint_after(c) for c in ("weight", "prompt", "length"))}) == 4


@pytest.mark.parametrize(
    "name",
    ["nobody-has-this", "nobody/has-this", "../nobody", "/nobody/nothing", "~nobody/a", "n" * 5000, "n/" * 3000, "<b>"],
    ids=lambda name: name[:16],
)
def test_an_unknown_encoder_is_said(paths: DataPaths, name: str) -> None:
    with pytest.raises(NotFoundError, match=f"There is no encoder '{name[:50]}"):
        load_encoder(name, paths)


def test_a_mistake_of_the_program_is_not_taken_for_a_missing_model() -> None:
    def mistaken(name: str, **options: bool) -> None:
        raise AttributeError(name)

    with pytest.raises(AttributeError):
        open_model("nobody/has-this", None, mistaken)


@pytest.mark.parametrize("address", ["http://[nowhere", "no address", "ftp://hub", "http://hub:port"])
def test_a_hub_at_no_address_does_not_answer(address: str) -> None:
    assert not hub_answers(address)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2J", "a\u202eb", "a\x00", "\ud800", "openai:a\nb"])
def test_a_name_of_characters_that_are_not_shown_is_refused(paths: DataPaths, name: str) -> None:
    with pytest.raises(InputError, match="characters that are not shown"):
        load_encoder(name, paths)


@pytest.mark.parametrize("kind", ["pickle", "module", "model"])
def test_an_encoder_that_brings_code_is_refused_and_none_of_it_runs(
    paths: DataPaths, tmp_path: Path, kind: str
) -> None:
    tiny_transformer(tmp_path)
    folder, mark = with_foreign_code(tmp_path / "model", kind, tmp_path / "it-ran"), tmp_path / "it-ran"
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_encoder(str(folder), paths)
    assert not mark.exists()


def test_a_folder_that_is_no_encoder_is_said(paths: DataPaths, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(NotFoundError, match=r"neither modules\.json nor"):
        load_encoder(str(tmp_path / "photos"), paths)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [("Qwen2ForCausalLM", "a causal language model"), ("BertForSequenceClassification", "a classifier")],
)
def test_a_model_that_is_no_encoder_is_said(paths: DataPaths, tmp_path: Path, architecture: str, said: str) -> None:
    """The library averages the token vectors of anything, and the index would be full of noise."""
    tiny_transformer(tmp_path)
    config = tmp_path / "bert" / "config.json"
    config.write_text(config.read_text().replace("BertModel", architecture))
    with pytest.raises(NotFoundError, match=rf"{said}.*{architecture}.*sentence-transformers encoder"):
        load_encoder(str(tmp_path / "bert"), paths)


def test_a_plain_transformer_and_an_encoder_built_on_a_language_model_are_taken(
    paths: DataPaths, tmp_path: Path
) -> None:
    tiny_transformer(tmp_path)
    assert load_encoder(str(tmp_path / "bert"), paths).dimension == 16
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace("BertModel", "BertForCausalLM"))
    assert load_encoder(str(tmp_path / "model"), paths).dimension == 16


def test_another_kind_of_sentence_transformer_is_said(paths: DataPaths, tmp_path: Path) -> None:
    tiny_transformer(tmp_path)
    config = tmp_path / "model" / "config_sentence_transformers.json"
    config.write_text(config.read_text().replace('"SentenceTransformer"', '"CrossEncoder"'))
    with pytest.raises(NotFoundError, match="a CrossEncoder"):
        load_encoder(str(tmp_path / "model"), paths)


def test_a_truncated_encoder_is_said(default: SentenceTransformerEncoder, paths: DataPaths) -> None:
    folder = paths.encoder("cut")
    default.model.save_pretrained(str(folder))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="damaged"):
        load_encoder("cut", paths)


def test_a_distilled_encoder_goes_before_a_folder_of_the_same_name(
    paths: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    paths.encoder("mine").mkdir(parents=True)
    assert find_encoder("mine", paths) == paths.encoder("mine")


def test_each_side_of_a_two_sided_encoder_is_known_as_the_encoder_that_it_is(
    default: SentenceTransformerEncoder, paths: DataPaths, tmp_path: Path
) -> None:
    """An index would be embedded anew for nothing, or a changed passage side taken for the old one."""
    questions = copy.deepcopy(default.model)
    with torch.no_grad():
        next(questions.parameters())[0, 0] += 0.01
    for name, passages in (("taught", default.model), ("turned", questions)):
        other = questions if passages is default.model else default.model
        router = Router.for_query_document(list(other.children()), list(passages.children()))
        SentenceTransformer(modules=[router], prompts=dict(default.model.prompts)).save_pretrained(
            str(paths.encoder(name)), create_model_card=False
        )
    taught, turned = load_trainable("taught", paths), load_trainable("turned", paths)
    alone = SentenceTransformerEncoder("alone", questions)
    assert (taught.fingerprint, taught.query_fingerprint) == (default.fingerprint, alone.fingerprint)
    assert (turned.fingerprint, turned.query_fingerprint) == (alone.fingerprint, default.fingerprint)
    assert (taught.dimension, taught.max_tokens) == (default.dimension, default.max_tokens)


def test_the_default_encoders_fingerprint_is_the_one_that_indexes_were_made_with(
    default: SentenceTransformerEncoder,
) -> None:
    """Every index that exists would be refused."""
    assert default.fingerprint == default.query_fingerprint == "3591ef120c28f22f"


def test_a_static_encoder_has_vectors_and_a_passage_length() -> None:
    encoder = SentenceTransformerEncoder("static", tiny_static())
    assert encoder.encode_passages(["cats purr"]).shape == (1, 16)
    assert encoder.max_tokens == 512
