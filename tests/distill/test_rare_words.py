"""A passage's rare words count more in its vector; questions stay as they were."""

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tiny_encoders import tiny_static, tiny_transformer

from distill.retriever.training import rarity, weigh_rare_words
from indexes.encoders.loading import SentenceTransformerEncoder, load_encoder
from indexes.paths import DataPaths

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
TEXTS = ["the cats purr", "the dogs bark", "the bread is baked", "the planet mars", "the moons of mars"]


def encoder(model: SentenceTransformer) -> SentenceTransformerEncoder:
    return SentenceTransformerEncoder("tiny", model)


@pytest.fixture
def base(tmp_path: Path) -> SentenceTransformer:
    return tiny_transformer(tmp_path)


def test_weights_follow_rarity_and_are_one_on_average(base: SentenceTransformer) -> None:
    """A word of every passage must not drown the one that tells two apart."""
    weights = rarity(base, TEXTS)
    number = base.tokenizer.get_vocab()
    assert weights[number["cats"]] > weights[number["mars"]] > weights[number["the"]] > 0
    ids = [i for text in TEXTS for i in base.tokenizer(text)["input_ids"]]
    assert np.mean([weights[i] for i in ids]) == pytest.approx(1.0)


def test_a_passage_is_the_weighted_average_of_its_token_vectors(base: SentenceTransformer) -> None:
    weighted = weigh_rare_words(base, TEXTS)
    assert weighted is not None
    tokens = base.encode(["the cats purr"], output_value="token_embeddings")[0].numpy()
    weights = rarity(base, TEXTS)
    wanted = sum(
        weights[i] * v / np.linalg.norm(v)
        for i, v in zip(base.tokenizer("the cats purr")["input_ids"], tokens, strict=True)
    )
    found = encoder(weighted).encode_passages(["the cats purr"])[0]
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=1e-5)


def test_questions_stay_as_they_were_and_passages_do_not(base: SentenceTransformer) -> None:
    """The fingerprint has to know: an index by the one must never answer for the other."""
    weighted = weigh_rare_words(base, TEXTS)
    assert weighted is not None
    before, after = encoder(base), encoder(weighted)
    np.testing.assert_allclose(after.encode_queries(TEXTS), before.encode_queries(TEXTS), atol=1e-6)
    assert np.abs(after.encode_passages(TEXTS) - before.encode_passages(TEXTS)).max() > 1e-3
    assert after.fingerprint != before.fingerprint
    other = weigh_rare_words(base, TEXTS[:3])
    assert other is not None
    assert encoder(other).fingerprint != after.fingerprint


def test_the_weights_come_back_from_disk(base: SentenceTransformer, tmp_path: Path) -> None:
    weighted = weigh_rare_words(base, TEXTS)
    assert weighted is not None
    weighted.save_pretrained(str(tmp_path / "data" / "encoders" / "rare"), create_model_card=False)
    loaded = load_encoder("rare", DataPaths(tmp_path / "data"), "fp32")  # by itself it takes what is faster just now
    np.testing.assert_allclose(loaded.encode_passages(TEXTS), encoder(weighted).encode_passages(TEXTS), atol=1e-4)
    assert loaded.fingerprint == encoder(weighted).fingerprint


def test_encoders_that_do_not_average_token_vectors_are_left_alone(base: SentenceTransformer) -> None:
    first_token = SentenceTransformer(modules=[base[0], Pooling(16, pooling_mode="cls")], device="cpu")
    assert weigh_rare_words(first_token, TEXTS) is None
    assert weigh_rare_words(tiny_static(), TEXTS) is None
