"""The cross-encoder ranker scores, trains, is saved and is opened like the other kind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import tiny_transformer, with_foreign_code

from distill.ranker.agreement import Orders, RankerSettings
from distill.ranker.head import Head
from distill.ranker.losses import CrossEncoderLoss, cross_encoder_lists, labels_of, list_mle
from distill.ranker.ranker import CrossEncoderRanker, begin_ranker, load_ranker
from distill.ranker.training import train_ranker
from distill.records import CandidateList, Ranking, Retrieved
from indexes.encoders.finding import DEFAULT_ENCODER
from indexes.errors import NotFoundError, WeightsError
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow

TEXTS = {
    "bread": "Bread is baked from flour, water and yeast.",
    "cats": "Cats purr when they are content and hunt mice at night, which they do in silence.",
    "mars": "Mars is a planet.",
}


@pytest.fixture
def ranker(paths: DataPaths) -> CrossEncoderRanker:
    """The packaged encoder's first layer under a new head."""
    begun = CrossEncoderRanker.begin(DEFAULT_ENCODER, paths, seed=1, device="cpu")
    transformer: Any = begun.model.transformers_model.base_model
    transformer.encoder.layer = transformer.encoder.layer[:1]
    transformer.config.num_hidden_layers = 1
    transformer.embeddings.word_embeddings.weight.requires_grad_(False)
    return begun


def records(n: int) -> list[CandidateList]:
    candidates = tuple(Retrieved(passage=p, document=p, dense=0.5, lexical=1.0) for p in TEXTS)
    return [CandidateList(id=f"q{i}", question=f"What is said in case {i}?", candidates=candidates) for i in range(n)]


def rankings(of: list[CandidateList]) -> dict[str, Ranking]:
    order = ("mars", "cats", "bread")
    return {record.id: Ranking(id=record.id, ranking=order, shown=order) for record in of}


def test_it_begins_the_same_with_the_same_seed_and_knows_that_its_head_is_new(paths: DataPaths) -> None:
    first, again, other = (
        CrossEncoderRanker.begin(DEFAULT_ENCODER, paths, seed=seed, device="cpu").score(records(1), TEXTS)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_stage_1_begins_from_the_base_encoder_or_from_what_was_named(paths: DataPaths, tmp_path: Path) -> None:
    base = tiny_transformer(tmp_path)
    begun, notes = begin_ranker("", base, paths, seed=1)
    assert (begun.kind, notes) == ("late-interaction", ())
    begun, notes = begin_ranker(DEFAULT_ENCODER, base, paths, seed=1)
    assert begun.kind == "cross-encoder"
    assert "no cross-encoder that has learned to rank" in notes[0]
    begun.save(tmp_path / "learned")
    begun, notes = begin_ranker(str(tmp_path / "learned"), base, paths, seed=1)
    assert (begun.kind, notes) == ("cross-encoder", ())
    with pytest.raises(NotFoundError, match="There is no cross-encoder 'nobody/nothing'"):
        begin_ranker("nobody/nothing", base, paths, seed=1)
    mark = tmp_path / "it-ran"
    folder = with_foreign_code(tmp_path / "learned", "pickle", mark)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        begin_ranker(str(folder), base, paths, seed=1)
    with pytest.raises(WeightsError, match="incomplete or damaged"):
        load_ranker(folder)
    assert not mark.exists()


def test_a_saved_ranker_gives_the_same_scores_and_its_head_is_not_new(
    ranker: CrossEncoderRanker, tmp_path: Path
) -> None:
    ranker.head = Head(model=3.0, dense=2.0, lexical=1.0)
    ranker.save(tmp_path / "ranker")
    loaded = load_ranker(tmp_path / "ranker")
    assert isinstance(loaded, CrossEncoderRanker)
    assert loaded.head == ranker.head
    assert not loaded.has_new_head
    assert np.array(loaded.score(records(2), TEXTS)) == pytest.approx(
        np.array(ranker.score(records(2), TEXTS)), abs=1e-3
    )


def test_lists_of_any_length_are_scored(ranker: CrossEncoderRanker) -> None:
    some = records(3)
    some[0] = replace(some[0], candidates=())
    some[1] = replace(some[1], candidates=some[1].candidates[:1])
    seen: list[tuple[int, int]] = []
    scores = ranker.score(some, TEXTS, lambda done, total: seen.append((done, total)))
    assert [len(row) for row in scores] == [0, 1, 3]
    assert seen == [(3, 3)]
    assert ranker.score([], TEXTS) == []


def test_near_scores_differ(ranker: CrossEncoderRanker) -> None:
    """In bfloat16 a logit has 8 bits, and passages that are nearly alike would be tied."""
    texts = {f"p{n}": f"Bread is baked in {n} hours." for n in range(30)}
    candidates = tuple(Retrieved(passage=p, document=p, dense=0.0, lexical=0.0) for p in texts)
    (scores,) = ranker.score([CandidateList(id="q", question="How long?", candidates=candidates)], texts)
    assert len(set(scores)) > 20


def test_what_trains_is_the_loss_of_the_scores_that_are_used(ranker: CrossEncoderRanker) -> None:
    lists = records(4)
    lists[1] = replace(lists[1], candidates=lists[1].candidates[:2])
    weights = [1.0, 2.0, 0.5, 1.0]
    data = cross_encoder_lists(lists, labels_of(lists, rankings(lists), weights, TEXTS), TEXTS)
    ranker.model.eval()
    with torch.no_grad():
        labels = [torch.tensor(label) for label in data["label"]]
        inputs = [list(data["question"]), list(data["passages"])]
        found = CrossEncoderLoss(ranker.model, ranker.head.model, list_mle, in_batch=True)(inputs, labels)
    orders = Orders(records=lists, rankings=rankings(lists), texts=TEXTS)
    rows = zip(weights, ranker.score(lists, TEXTS), orders.targets, strict=True)
    expected = sum(w * float(list_mle(torch.tensor([row]), torch.tensor([target]))) for w, row, target in rows)
    assert float(found) == pytest.approx(expected / len(lists), rel=0.02)


def test_training_moves_it_towards_the_teacher(ranker: CrossEncoderRanker, tmp_path: Path) -> None:
    lists = records(18)
    settings = RankerSettings(weighs_signals=False, learning_rate=1e-3, n_epochs=2, batch_size=6, seed=1)
    report = train_ranker(ranker, lists, rankings(lists), TEXTS, tmp_path, settings, lambda done, total: None)
    assert (report.kind, report.loss, report.kept) == ("cross-encoder", "list_mle", "trained")
    assert report.agreement_trained == 1
    assert ranker.head == Head(model=1.0, dense=0.0, lexical=0.0)
