"""A question is embedded once, however many searches ask it."""

from collections.abc import Sequence

import numpy as np
from fakes import KeywordEncoder

from indexes.encoders.loading import RememberingEncoder
from indexes.types import Vectors


class Counting(KeywordEncoder):
    asked: list[str]

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        self.asked = [*getattr(self, "asked", []), *texts]
        return super().encode_queries(texts)


def test_a_question_is_embedded_once_and_vectors_come_in_the_order_asked() -> None:
    encoder = Counting()
    remembering = RememberingEncoder(encoder)
    first = remembering.encode_queries(["bees", "moon", "bees"])
    again = remembering.encode_queries(["moon", "stars", "bees"])
    assert encoder.asked == ["bees", "moon", "stars"]
    np.testing.assert_array_equal(first, KeywordEncoder().encode_queries(["bees", "moon", "bees"]))
    np.testing.assert_array_equal(again, KeywordEncoder().encode_queries(["moon", "stars", "bees"]))
    assert remembering.encode_queries([]).shape == (0, encoder.dimension)


def test_it_is_known_as_the_encoder_that_it_wraps() -> None:
    encoder = KeywordEncoder()
    remembering = RememberingEncoder(encoder)
    assert (remembering.name, remembering.fingerprint, remembering.dimension) == (
        encoder.name,
        encoder.fingerprint,
        encoder.dimension,
    )
