"""The ranker begins well, learns the teacher's orders, and never ends worse than it began."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from distill.jsonl import Record
from distill.permutations import kendall_tau
from distill.ranker import Head, LateInteractionRanker, fit_head, rank_targets
from distill.ranker_training import agreement, train_ranker
from indexes.encoders import DEFAULT_ENCODER, SentenceTransformerEncoder, load_encoder
from indexes.errors import WeightsError
from indexes.paths import DataPaths

TEXTS = {
    "cats": "Cats purr when they are content and hunt mice at night.",
    "dogs": "Dogs bark at strangers and guard the house.",
    "bread": "Bread is baked from flour, water and yeast.",
    "mars": "Mars is the fourth planet and has two small moons.",
}
QUESTIONS = {
    "cats": "Which animal purrs and catches mice?",
    "dogs": "Who guards a house by barking?",
    "bread": "What is made of flour and yeast?",
    "mars": "Which planet has two moons?",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    encoder = load_encoder(DEFAULT_ENCODER, DataPaths(tmp_path_factory.mktemp("data")))
    assert isinstance(encoder, SentenceTransformerEncoder)
    return encoder.model


def records(copies: int = 1) -> list[Record]:
    candidates = [{"passage": p, "document": p, "dense": 0.5, "lexical": 1.0} for p in sorted(TEXTS)]
    return [
        {"id": f"{topic}{n}", "question": question, "candidates": candidates}
        for n in range(copies)
        for topic, question in QUESTIONS.items()
    ]


def rankings(of: list[Record], *, reverse: bool) -> Mapping[str, Record]:
    """A teacher that orders passages alphabetically, or the other way round."""
    order = sorted(TEXTS, reverse=reverse)
    return {record["id"]: {"ranking": order, "shown": order} for record in of}


def test_late_interaction_ranks_well_before_any_training(base: SentenceTransformer) -> None:
    """A projection with random weights, as the library adds by itself, would make this chance."""
    scores = LateInteractionRanker.from_encoder(base).score(records(), TEXTS)
    best = [sorted(TEXTS)[int(np.argmax(row))] for row in scores]
    assert best == list(QUESTIONS)


def test_a_saved_ranker_gives_the_same_scores(base: SentenceTransformer, tmp_path: Path) -> None:
    ranker = LateInteractionRanker.from_encoder(base)
    ranker.head = Head(late_interaction=3.0, dense=2.0, lexical=1.0)
    ranker.save(tmp_path / "ranker")
    loaded = LateInteractionRanker.load(tmp_path / "ranker")
    assert loaded.head == ranker.head
    assert np.array(loaded.score(records(), TEXTS)) == pytest.approx(np.array(ranker.score(records(), TEXTS)), abs=1e-3)


def test_a_damaged_ranker_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="incomplete or damaged"):
        LateInteractionRanker.load(tmp_path)


def test_training_moves_the_ranker_towards_the_teacher_and_leaves_the_base_alone(
    base: SentenceTransformer, tmp_path: Path
) -> None:
    train = records(copies=6)
    teacher = rankings(train, reverse=False)
    before = base.encode(["Cats purr."])
    ranker, report = train_ranker(
        base, train, teacher, TEXTS, tmp_path, seed=1, on_progress=lambda done, total: None, n_epochs=2
    )
    assert report.n_train == 20
    assert report.n_held_out == 4
    assert report.agreement_trained >= report.agreement_untrained
    assert agreement(ranker, train[-4:], teacher, TEXTS) == pytest.approx(
        max(report.agreement_trained, report.agreement_untrained)
    )
    assert base.encode(["Cats purr."]) == pytest.approx(before)


def test_the_head_finds_the_signal_that_the_teacher_follows() -> None:
    rng = np.random.default_rng(0)
    features = [rng.uniform(0, 1, (6, 3)) for _ in range(200)]
    lexical = [np.argsort(np.argsort(-f[:, 2])).tolist() for f in features]
    head = fit_head(features, lexical, Head())
    orders = [np.argsort(-(f @ np.array(head.weights()))) for f in features]
    taus = [
        kendall_tau([str(i) for i in order], [str(i) for i in np.argsort(-f[:, 2])])
        for order, f in zip(orders, features, strict=True)
    ]
    assert np.mean(taus) > 0.9
    assert min(head.weights()) >= 0


def test_a_handful_of_lists_does_not_overturn_the_start() -> None:
    features = [np.array([[0.9, 0.5, 1.0], [0.2, 0.1, 0.0]])]
    head = fit_head(features, [[1, 0]], Head())
    assert features[0][0] @ np.array(head.weights()) > features[0][1] @ np.array(head.weights())


def test_what_the_teacher_never_saw_teaches_nothing() -> None:
    record = {"candidates": [{"passage": p} for p in ("a", "b", "c", "d")]}
    ranking = {"ranking": ["c", "a"], "shown": ["a", "b", "c"]}
    assert rank_targets(record, ranking) == [1, 1_000_000, 0, -1]
