"""The ranker begins well, learns the teacher's orders, and never ends worse than it began."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distill.ranker.kinds import begin_rankers
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sentence_transformers import SentenceTransformer

from distill.jsonl import Record
from distill.ranker.cross_encoder import CrossEncoderRanker
from distill.ranker.head import Head, fit_head
from distill.ranker.listwise import LOSSES, find_loss
from distill.ranker.losses import LateInteractionLoss, late_interaction_lists
from distill.ranker.orders import Orders, informative_orders
from distill.ranker.ranker import LateInteractionRanker, Ranker, load_ranker
from distill.ranker.report import RankerReport, RankerSettings
from distill.ranker.training import train_best_ranker, train_ranker
from indexes.encoder_files import DEFAULT_ENCODER, find_encoder
from indexes.errors import InputError, NotFoundError, WeightsError
from indexes.paths import DataPaths

pytestmark = pytest.mark.slow

TEXTS = {
    "cats": "Cats purr when they are content and hunt mice at night.",
    "dogs": "Dogs bark at strangers and guard the house. They are loyal, and they like long walks in the forest.",
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
    folder = find_encoder(DEFAULT_ENCODER, DataPaths(tmp_path_factory.mktemp("data")))
    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(scope="module")
def shallow(base: SentenceTransformer) -> SentenceTransformer:
    """The base encoder's first layer: trains in no time."""
    model = copy.deepcopy(base)
    transformer: Any = model[0].auto_model
    transformer.encoder.layer = transformer.encoder.layer[:1]
    transformer.config.num_hidden_layers = 1
    transformer.embeddings.word_embeddings.weight.requires_grad_(False)
    return model


def records(copies: int = 1) -> list[Record]:
    candidates = [{"passage": p, "document": p, "dense": 0.5, "lexical": 1.0} for p in sorted(TEXTS)]
    return [
        {"id": f"{topic}{n}", "question": question, "candidates": candidates}
        for n in range(copies)
        for topic, question in QUESTIONS.items()
    ]


def rankings(of: Sequence[Record], *, weight: float = 1.0) -> dict[str, Record]:
    """A teacher that puts passages in reverse alphabetical order, whatever the question."""
    order = sorted(TEXTS, reverse=True)
    return {record["id"]: {"ranking": order, "shown": order, "weight": weight} for record in of}


def train(
    ranker: Ranker, of: Sequence[Record], teacher: Mapping[str, Record], folder: Path, **settings: Any
) -> RankerReport:
    chosen = {"learning_rate": 1e-3, "n_epochs": 2, "batch_size": 6, "seed": 1} | settings
    return train_ranker(
        ranker, of, teacher, TEXTS, folder, RankerSettings(train="full", **chosen), lambda done, total: None
    )


def test_late_interaction_ranks_well_before_any_training(base: SentenceTransformer) -> None:
    """A projection with random weights, as the library adds by itself, would make this chance."""
    scores = LateInteractionRanker.from_encoder(base).score(records(), TEXTS)
    best = [sorted(TEXTS)[int(np.argmax(row))] for row in scores]
    assert best == list(QUESTIONS)


def test_a_saved_ranker_gives_the_same_scores(shallow: SentenceTransformer, tmp_path: Path) -> None:
    ranker = LateInteractionRanker.from_encoder(shallow)
    ranker.head = Head(model=3.0, dense=2.0, lexical=1.0)
    ranker.save(tmp_path / "ranker")
    loaded = load_ranker(tmp_path / "ranker", device="cpu")
    assert isinstance(loaded, LateInteractionRanker)
    assert loaded.head == ranker.head
    assert np.array(loaded.score(records(), TEXTS)) == pytest.approx(np.array(ranker.score(records(), TEXTS)), abs=1e-3)


@pytest.mark.parametrize("head", [None, "{}", '{"kind": "oracle", "model": 1}', '{"kind": "late-interaction"}', "["])
def test_a_damaged_ranker_is_said(tmp_path: Path, head: str | None) -> None:
    if head is not None:
        (tmp_path / "head.json").write_text(head)
    with pytest.raises(WeightsError, match="incomplete or damaged"):
        load_ranker(tmp_path)


def test_scoring_reports_how_far_it_is_and_takes_lists_of_any_length(shallow: SentenceTransformer) -> None:
    seen: list[tuple[int, int]] = []
    some = [
        records()[0],
        records()[1] | {"candidates": []},
        records()[2] | {"candidates": records()[2]["candidates"][:1]},
    ]
    scores = LateInteractionRanker.from_encoder(shallow).score(
        some, TEXTS, lambda done, total: seen.append((done, total))
    )
    assert [len(row) for row in scores] == [4, 0, 1]
    assert seen == [(3, 3)]
    assert LateInteractionRanker.from_encoder(shallow).score([], TEXTS) == []


@pytest.mark.parametrize("loss", LOSSES)
def test_what_trains_is_the_loss_of_the_scores_that_are_used(shallow: SentenceTransformer, loss: str) -> None:
    """Texts go through the model in another order and other batches in training than in scoring."""
    ranker = LateInteractionRanker.from_encoder(shallow)
    lists = records()
    lists[1] = lists[1] | {"candidates": lists[1]["candidates"][:2]}
    teacher = rankings(lists)
    weights = [1.0, 2.0, 0.5, 1.0]
    data = late_interaction_lists(lists, teacher, weights, TEXTS, ranker.head)
    columns = [column for column in data.column_names if column != "label"]
    tasks = ["query", *["document"] * (len(columns) - 1)]
    features = [ranker.model.preprocess(list(data[c]), task=task) for c, task in zip(columns, tasks, strict=True)]
    ranker.model.eval()
    with torch.no_grad():
        found = LateInteractionLoss(ranker.model, ranker.head.model, find_loss(loss))(
            features, torch.tensor(data["label"])
        )
    scores = ranker.score(lists, TEXTS)
    orders = Orders(records=lists, rankings=teacher, texts=TEXTS)
    expected = sum(
        weight * float(find_loss(loss)(torch.tensor([row]), torch.tensor([target])))
        for weight, row, target in zip(weights, scores, orders.targets, strict=True)
    )
    assert float(found) == pytest.approx(expected / len(lists), rel=0.02)


def test_training_moves_the_ranker_towards_the_teacher_and_leaves_the_base_alone(
    shallow: SentenceTransformer, tmp_path: Path
) -> None:
    lists = records(copies=6)
    before = shallow.encode(["Cats purr."])
    ranker = LateInteractionRanker.from_encoder(shallow)
    report = train(ranker, lists, rankings(lists), tmp_path)
    assert (report.n_train, report.n_held_out, report.n_left_out) == (20, 4, 0)
    assert report.kept == "trained"
    assert report.agreement_trained > report.agreement_untrained + 0.3
    held_out = informative_orders(lists, rankings(lists), TEXTS, seed=1).part(20, None)
    assert held_out.agreement_of(ranker) == pytest.approx(report.agreement_trained)
    assert report.agreement_fused == -1
    assert report.calibration is not None
    assert report.calibration.n_pairs == 4 * 6
    assert shallow.encode(["Cats purr."]) == pytest.approx(before)


def test_a_training_that_does_harm_is_undone(shallow: SentenceTransformer, tmp_path: Path) -> None:
    """The teacher's training orders are the reverse of those that are held out."""
    lists = records(copies=3)
    untouched = LateInteractionRanker.from_encoder(shallow)
    teacher = rankings(lists)
    for record in informative_orders(lists, teacher, TEXTS, seed=1).records[10:]:
        teacher[record["id"]] = teacher[record["id"]] | {"ranking": sorted(TEXTS)}
    ranker = LateInteractionRanker.from_encoder(shallow)
    report = train(ranker, lists, teacher, tmp_path)
    assert report.agreement_trained < report.agreement_untrained
    assert report.kept == "untrained"
    assert report.agreement_kept == report.agreement_untrained
    assert ranker.head == Head()
    assert ranker.score(lists, TEXTS) == untouched.score(lists, TEXTS)


def test_a_loss_that_is_no_number_leaves_the_ranker_as_it_began(shallow: SentenceTransformer, tmp_path: Path) -> None:
    lists = records(copies=3)
    ranker = LateInteractionRanker.from_encoder(shallow)
    before = ranker.score(lists, TEXTS)
    report = train(ranker, lists, rankings(lists), tmp_path, learning_rate=float("inf"))
    assert report.kept in {"untrained", "fitted"}
    assert "stays as it began" in report.notes[0]
    assert np.isfinite(before).all()
    features = ranker.features(lists, TEXTS)
    assert np.array(features) == pytest.approx(
        np.array(LateInteractionRanker.from_encoder(shallow).features(lists, TEXTS))
    )


def test_a_killed_training_ends_with_the_same_ranker(shallow: SentenceTransformer, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == total - 1:
            raise KilledError

    lists = records(copies=3)
    settings = RankerSettings(train="full", learning_rate=1e-3, n_epochs=2, batch_size=6, seed=1)
    through = LateInteractionRanker.from_encoder(shallow)
    expected = train(through, lists, rankings(lists), tmp_path / "through")
    with pytest.raises(KilledError):
        killed = LateInteractionRanker.from_encoder(shallow)
        train_ranker(killed, lists, rankings(lists), TEXTS, tmp_path / "twice", settings, kill)
    resumed = LateInteractionRanker.from_encoder(shallow)
    assert train(resumed, lists, rankings(lists), tmp_path / "twice") == expected
    assert resumed.score(lists, TEXTS) == through.score(lists, TEXTS)


@pytest.mark.parametrize(
    ("lists", "weight", "left_out"),
    [
        (records(copies=2), 0.0, 8),
        (records()[:1], 1.0, 0),
        ([r | {"candidates": r["candidates"][:1]} for r in records()], 1.0, 4),
        ([], 1.0, 0),
    ],
    ids=["all weights 0", "one list", "one candidate each", "none"],
)
def test_with_nothing_to_learn_from_the_ranker_stays_and_it_is_said(
    shallow: SentenceTransformer, tmp_path: Path, lists: list[Record], weight: float, left_out: int
) -> None:
    ranker = LateInteractionRanker.from_encoder(shallow)
    report = train(ranker, lists, rankings(lists, weight=weight), tmp_path)
    assert report.kept == "untrained"
    assert report.n_train == 0
    assert report.n_left_out == left_out
    assert "stays as it began" in report.notes[0]
    assert ranker.head == Head()


def test_only_what_the_teacher_saw_counts_each_passage_once_and_weight_0_drops_a_list() -> None:
    lists = records(copies=1)
    lists[0] = lists[0] | {"candidates": [*lists[0]["candidates"], lists[0]["candidates"][0]]}
    teacher = rankings(lists)
    teacher["cats0"]["shown"] = ["cats", "bread", "mars"]
    teacher["dogs0"]["weight"] = 0.0
    teacher["mars0"] = {"ranking": [], "shown": sorted(TEXTS)}
    del teacher["bread0"]
    orders = informative_orders(lists, teacher, TEXTS, seed=1)
    assert [record["id"] for record in orders.records] == ["cats0"]
    assert [c["passage"] for c in orders.records[0]["candidates"]] == ["bread", "cats", "mars"]
    assert orders.targets == [[3, 2, 0]]


def test_of_several_rankers_the_one_that_agrees_best_is_taken(shallow: SentenceTransformer, tmp_path: Path) -> None:
    class Backwards(LateInteractionRanker):
        kind = "late-interaction"

        def score(self, *arguments: Any, **named: Any) -> list[list[float]]:
            return [[-score for score in row] for row in super().score(*arguments, **named)]

    lists = records(copies=2)
    teacher = {r["id"]: {"ranking": ["cats", "dogs"], "shown": ["cats", "dogs"]} for r in lists}
    settings = RankerSettings(train="full", learning_rate=0.0, n_epochs=1, batch_size=8, seed=1)
    good = LateInteractionRanker.from_encoder(shallow)
    rankers = [Backwards(good.model, Head()), good]
    best, report = train_best_ranker(rankers, lists, teacher, TEXTS, tmp_path, settings, lambda done, total: None)
    agreements = [agreement for _, agreement in report.compared]
    assert best is rankers[int(np.argmax(agreements))]
    assert report.agreement_kept == max(agreements)
    assert agreements[0] != agreements[1]


def test_auto_leaves_out_a_cross_encoder_that_has_not_learned_to_rank(
    base: SentenceTransformer, paths: DataPaths
) -> None:
    found, notes = begin_rankers("auto", base, paths, cross_encoder=DEFAULT_ENCODER, seed=1)
    assert [ranker.kind for ranker in found] == ["late-interaction"]
    assert "no cross-encoder that has learned to rank" in notes[0]
    found, notes = begin_rankers("auto", base, paths, cross_encoder="nobody/nothing", seed=1, local_files_only=True)
    assert [ranker.kind for ranker in found] == ["late-interaction"]
    assert "'nobody/nothing' cannot be loaded" in notes[0]
    found, notes = begin_rankers("late-interaction", base, paths, seed=1)
    assert [ranker.kind for ranker in found] == ["late-interaction"]
    assert notes == ()


def test_a_cross_encoder_that_is_asked_for_has_to_be_there(base: SentenceTransformer, paths: DataPaths) -> None:
    (ranker,), _ = begin_rankers("cross-encoder", base, paths, cross_encoder=DEFAULT_ENCODER, seed=1)
    assert isinstance(ranker, CrossEncoderRanker)
    with pytest.raises(NotFoundError, match="take the late-interaction ranker"):
        begin_rankers("cross-encoder", base, paths, cross_encoder="nobody/nothing", seed=1, local_files_only=True)
    with pytest.raises(InputError, match="auto, late-interaction, cross-encoder"):
        begin_rankers("oracle", base, paths, seed=1)


def test_the_head_finds_the_signal_that_the_teacher_follows() -> None:
    rng = np.random.default_rng(0)
    features = [rng.uniform(0, 1, (6, 3)) for _ in range(200)]
    lexical = [_ranks(f[:, 2]) for f in features]
    head = fit_head(features, lexical, Head())

    def agreement(head: Head) -> float:
        return float(np.mean([kendalltau(f @ np.array(head.weights()), f[:, 2]).statistic for f in features]))

    assert agreement(head) > 0.8 > 0.3 > agreement(Head())
    assert min(head.weights()) >= 0
    unheard = fit_head(features, lexical, Head(), [0.0] * len(features))
    assert unheard.weights() == pytest.approx(Head().weights(), rel=1e-3)


def test_the_head_does_not_follow_what_a_teacher_puts_after_its_first() -> None:
    rng = np.random.default_rng(0)
    features = [rng.uniform(0, 1, (6, 3)) for _ in range(200)]
    orders = []
    for each in features:
        tail = each[:, 2].copy()
        tail[np.argmax(each @ np.array(Head().weights()))] = 2.0  # the start's own choice is first, then lexical
        orders.append(_ranks(tail))
    assert fit_head(features, orders, Head()).weights() == pytest.approx(Head().weights(), rel=0.05)


def test_a_teachers_errors_do_not_shrink_the_head() -> None:
    rng = np.random.default_rng(0)
    features = [rng.uniform(0, 1, (6, 3)) for _ in range(400)]
    errs = [_ranks(each @ np.array(Head().weights()) + rng.gumbel(scale=10.0, size=6)) for each in features]
    assert fit_head(features, errs, Head()).weights() == pytest.approx(Head().weights(), rel=0.25)


def _ranks(utilities: NDArray[np.float64]) -> list[int]:
    """The rank from 0 of each value, the largest first."""
    return [int(rank) for rank in np.argsort(np.argsort(-utilities))]


def test_a_handful_of_lists_does_not_overturn_the_start() -> None:
    features = [np.array([[0.9, 0.5, 1.0], [0.2, 0.1, 0.0]])]
    head = fit_head(features, [[1, 0]], Head())
    assert features[0][0] @ np.array(head.weights()) > features[0][1] @ np.array(head.weights())
    assert fit_head([], [], Head()) == Head()
