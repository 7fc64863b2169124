"""A cross-encoder from a folder puts passages in the order that the library gives; anything else is said."""

from pathlib import Path

import pytest
from sentence_transformers import CrossEncoder
from tiny_encoders import tiny_transformer

from indexes.errors import NotFoundError, WeightsError
from indexes.retrievers import load_cross_encoder
from indexes.types import Candidate, Passage


def cross_encoder(folder: Path, n_labels: int = 1) -> Path:
    tiny_transformer(folder)
    CrossEncoder(str(folder / "bert"), num_labels=n_labels, max_length=32).save_pretrained(str(folder / "cross"))
    return folder / "cross"


def test_scores_are_those_of_the_library(tmp_path: Path) -> None:
    folder = cross_encoder(tmp_path)
    texts = ["cats purr", "dogs bark", "bread is baked"]
    hits = [Candidate(passage=Passage(id=t, document_id=t, source="s", text=t, title="who"), score=0) for t in texts]
    some, none, one = load_cross_encoder(str(folder)).score(["who purr", "nothing", "who bark"], [hits, [], hits[:1]])
    theirs = CrossEncoder(str(folder)).predict(
        [*(("who purr", f"who\n{text}") for text in texts), ("who bark", "who\ncats purr")]
    )
    assert [*some, *one] == pytest.approx(theirs.tolist(), abs=1e-6)
    assert none == []


def test_what_cannot_score_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFoundError, match=r"neither modules\.json nor config\.json"):
        load_cross_encoder(str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match="has 3: it sorts"):
        load_cross_encoder(str(cross_encoder(tmp_path, n_labels=3)))
    (tmp_path / "cross" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_cross_encoder(str(tmp_path / "cross"))
