"""The ranker begins well, learns the teacher's orders, and never ends worse than it began."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mean_maxsim
from tiny_encoders import tiny_transformer
from torch import Tensor
from torch.nn.functional import normalize

from distill.candidates import UNRANKED
from distill.ranker.agreement import Orders, RankerSettings, informative_orders
from distill.ranker.head import Head, fit_head
from distill.ranker.losses import (
    LateInteractionLoss,
    Loss,
    labels_of,
    late_interaction_lists,
    list_mle,
    mean_max_sim,
    p_list_mle,
)
from distill.ranker.ranker import LateInteractionRanker, Ranker, load_ranker
from distill.ranker.training import train_ranker
from distill.records import CandidateList, RankerReport, Ranking, Retrieved
from distill.trainer import LOSSES_FILE
from indexes.encoders.finding import DEFAULT_ENCODER, find_encoder
from indexes.errors import InputError, WeightsError
from indexes.paths import DataPaths

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
TEXTS = {
    "bread": "bread is baked of flour",
    "cats": "cats purr",
    "dogs": "dogs bark where the cats purr",
    "mars": "mars is the planet of moons",
}
QUESTIONS = {
    "bread": "what is baked of flour",
    "cats": "who purr",
    "dogs": "who bark",
    "mars": "what is the planet of moons",
}


@pytest.fixture
def tiny(tmp_path: Path) -> SentenceTransformer:
    return tiny_transformer(tmp_path, dropout=0.0)


@pytest.fixture
def ranker(tiny: SentenceTransformer) -> LateInteractionRanker:
    return LateInteractionRanker.from_encoder(tiny)


def records(copies: int = 1, **changes: float) -> list[CandidateList]:
    signals = {"dense": 0.5, "lexical": 1.0} | changes
    candidates = tuple(Retrieved(passage=p, document=p, **signals) for p in sorted(TEXTS))
    return [
        CandidateList(id=f"{topic}{n}", question=question, candidates=candidates)
        for n in range(copies)
        for topic, question in QUESTIONS.items()
    ]


def rankings(of: Sequence[CandidateList], *, weight: float = 1.0) -> dict[str, Ranking]:
    """A teacher that puts passages in reverse alphabetical order, whatever the question."""
    order = sorted(TEXTS, reverse=True)
    return {record.id: Ranking(id=record.id, ranking=tuple(order), shown=tuple(order), weight=weight) for record in of}


def at_odds(lists: Sequence[CandidateList]) -> dict[str, Ranking]:
    """The teacher's orders of the lists that are held out are the reverse of those that train."""
    teacher = rankings(lists)
    shuffled = informative_orders(lists, teacher, TEXTS, seed=1).records
    for record in shuffled[-(len(lists) // 6) :]:
        teacher[record.id] = replace(teacher[record.id], ranking=tuple(sorted(TEXTS)))
    return teacher


def no_progress(done: int, total: int) -> None:
    pass


def train(
    ranker: Ranker,
    of: Sequence[CandidateList],
    teacher: Mapping[str, Ranking],
    folder: Path,
    on_progress: Callable[[int, int], None] = no_progress,
    **settings: Any,
) -> RankerReport:
    chosen = {"learning_rate": 1e-2, "n_epochs": 2, "batch_size": 6, "seed": 1} | settings
    return train_ranker(ranker, of, teacher, TEXTS, folder, RankerSettings(**chosen), on_progress)


def weights_of(ranker: Ranker) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in ranker.model.parameters()])


def test_late_interaction_ranks_well_before_any_training(tmp_path: Path) -> None:
    """A projection with random weights, as the library adds by itself, would make this chance."""
    base = SentenceTransformer(str(find_encoder(DEFAULT_ENCODER, DataPaths(tmp_path / "data"))), device="cpu")
    scores = LateInteractionRanker.from_encoder(base).score(records(), TEXTS)
    best = [sorted(TEXTS)[int(np.argmax(row))] for row in scores]
    assert best == list(QUESTIONS)


def test_a_saved_ranker_gives_the_same_scores(ranker: LateInteractionRanker, tmp_path: Path) -> None:
    ranker.head = Head(model=3.0, dense=2.0, lexical=1.0)
    ranker.save(tmp_path / "ranker")
    loaded = load_ranker(tmp_path / "ranker")
    assert isinstance(loaded, LateInteractionRanker)
    assert loaded.head == ranker.head
    assert np.array(loaded.score(records(), TEXTS)) == pytest.approx(np.array(ranker.score(records(), TEXTS)), abs=1e-3)


@pytest.mark.parametrize("head", [None, "{}", '{"kind": "oracle", "model": 1}', '{"kind": "late-interaction"}', "["])
def test_a_damaged_ranker_is_said(tmp_path: Path, head: str | None) -> None:
    if head is not None:
        (tmp_path / "head.json").write_text(head)
    with pytest.raises(WeightsError, match="incomplete or damaged"):
        load_ranker(tmp_path)


def test_scoring_reports_how_far_it_is_and_takes_lists_of_any_length(ranker: LateInteractionRanker) -> None:
    seen: list[tuple[int, int]] = []
    some = [
        records()[0],
        replace(records()[1], candidates=()),
        replace(records()[2], candidates=records()[2].candidates[:1]),
    ]
    scores = ranker.score(some, TEXTS, lambda done, total: seen.append((done, total)))
    assert [len(row) for row in scores] == [4, 0, 1]
    assert seen == [(3, 3)]
    assert ranker.score([], TEXTS) == []


def test_late_interaction_is_the_librarys_whatever_the_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    questions = normalize(torch.randn(3, 5, 8, generator=generator), dim=-1)
    passages = normalize(torch.randn(4, 7, 8, generator=generator), dim=-1)
    is_question = torch.arange(5)[None] < torch.tensor([5, 2, 1])[:, None]
    is_passage = torch.arange(7)[None] < torch.tensor([7, 1, 4, 6])[:, None]
    found = mean_max_sim(questions, is_question, passages, is_passage)
    expected = mean_maxsim(questions, passages, is_question, is_passage)
    assert torch.allclose(found, expected, atol=1e-6)
    torn = questions.masked_fill(~is_question[:, :, None], 9.0), passages.masked_fill(~is_passage[:, :, None], 9.0)
    assert torch.allclose(mean_max_sim(torn[0], is_question, torn[1], is_passage), expected, atol=1e-6)


def lists_of(shown: Mapping[str, Sequence[str]]) -> tuple[list[CandidateList], dict[str, Ranking]]:
    """For each topic the question about it and these candidates; the teacher has them in this order."""
    lists = [
        CandidateList(
            id=topic, question=QUESTIONS[topic], candidates=tuple(Retrieved(passage=p) for p in sorted(passages))
        )
        for topic, passages in shown.items()
    ]
    return lists, {topic: Ranking(id=topic, ranking=tuple(ps), shown=tuple(ps)) for topic, ps in shown.items()}


def batch_loss(
    ranker: LateInteractionRanker,
    lists: Sequence[CandidateList],
    teacher: Mapping[str, Ranking],
    loss: Loss,
    *,
    in_batch: bool,
    weights: Sequence[float] = (),
    texts: Mapping[str, str] = TEXTS,
) -> Tensor:
    """The loss that trains, of one batch."""
    labels = labels_of(lists, teacher, weights or [1.0] * len(lists), texts)
    data = late_interaction_lists(lists, labels, texts)
    columns = [column for column in data.column_names if column != "label"]
    tasks = ["query", *["document"] * (len(columns) - 1)]
    features = [ranker.model.preprocess(list(data[c]), task=task) for c, task in zip(columns, tasks, strict=True)]
    ranker.model.eval()
    trained = LateInteractionLoss(ranker.model, ranker.head.model, loss, in_batch=in_batch)
    return trained(features, torch.tensor(data["label"]))  # type: ignore[no-any-return]


def logits_of(ranker: LateInteractionRanker, topic: str, passages: Sequence[str]) -> list[float]:
    """What the library makes of the question and the passages, times the head's weight."""
    question = ranker.model.encode_query([QUESTIONS[topic]])
    found = mean_maxsim(question, ranker.model.encode_document([TEXTS[p] for p in passages]))
    return [ranker.head.model * value for value in found[0].tolist()]


@pytest.mark.parametrize("loss", [list_mle, p_list_mle])
def test_what_trains_is_the_loss_of_the_scores_that_are_used(ranker: LateInteractionRanker, loss: Loss) -> None:
    """Texts go through the model in another order and other batches in training than in scoring."""
    lists = records()
    lists[1] = replace(lists[1], candidates=lists[1].candidates[:2])
    teacher = rankings(lists)
    weights = [1.0, 2.0, 0.5, 1.0]
    found = batch_loss(ranker, lists, teacher, loss, in_batch=False, weights=weights)
    orders = Orders(records=lists, rankings=teacher, texts=TEXTS)
    expected = sum(
        weight * float(loss(torch.tensor([row]), torch.tensor([target])))
        for weight, row, target in zip(weights, ranker.score(lists, TEXTS), orders.targets, strict=True)
    )
    assert found.item() == pytest.approx(expected / len(lists), rel=0.02)


def test_others_passages_are_one_more_candidate_after_all_that_was_placed(ranker: LateInteractionRanker) -> None:
    """By hand: the cats' list sees bread and Mars of the others, the bread's sees Mars and both animals, and so on."""
    lists, teacher = lists_of({"cats": ["cats", "dogs"], "bread": ["bread", "cats"], "mars": ["mars"]})
    teacher["bread"] = replace(teacher["bread"], ranking=("bread",))  # and cats not placed
    beside = {
        "cats": (["cats", "dogs"], [0, 1], ["bread", "mars"]),
        "bread": (["bread", "cats"], [0, UNRANKED], ["dogs", "mars"]),
        "mars": (["mars"], [0], ["cats", "dogs", "bread", "cats"]),
    }
    expected = 0.0
    for topic, (own, ranks, others) in beside.items():
        together = float(torch.tensor(logits_of(ranker, topic, others)).logsumexp(0))
        row = [*logits_of(ranker, topic, own), together]
        expected += float(p_list_mle(torch.tensor([row]), torch.tensor([[*ranks, UNRANKED]]))) / 3
    found = batch_loss(ranker, lists, teacher, p_list_mle, in_batch=True)
    assert found.item() == pytest.approx(expected, rel=1e-3)
    assert found.item() > batch_loss(ranker, lists, teacher, p_list_mle, in_batch=False).item() + 0.1


@pytest.mark.parametrize(
    ("shown", "texts"),
    [
        ({"cats": ["cats", "dogs"], "dogs": ["dogs", "cats"]}, TEXTS),
        ({"cats": ["cats", "dogs"]}, TEXTS),
        ({"cats": ["cats", "dogs"], "bread": ["bread", "mars"]}, TEXTS | {"bread": "cats purr", "mars": TEXTS["dogs"]}),
    ],
    ids=["the same passages", "one list", "the same texts under other names"],
)
def test_a_question_is_never_pushed_away_from_its_own_passages(
    ranker: LateInteractionRanker, shown: Mapping[str, Sequence[str]], texts: Mapping[str, str]
) -> None:
    losses, gradients = [], []
    for in_batch in (False, True):
        ranker.model.zero_grad()
        loss = batch_loss(ranker, *lists_of(shown), p_list_mle, in_batch=in_batch, texts=texts)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in ranker.model.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert float(gradients[0].abs().max()) > 1e-3
    assert torch.allclose(*gradients, atol=1e-5)


@pytest.mark.parametrize("n_passages", [10, 2])
def test_training_moves_the_ranker_towards_the_teachers_first_places_and_leaves_the_base_alone(
    tiny: SentenceTransformer, tmp_path: Path, n_passages: int
) -> None:
    """Of a list that is cut, what the teacher put first stays: here it is what was retrieved last."""
    lists = records(copies=6)
    before = tiny.encode(["cats purr"])
    ranker = LateInteractionRanker.from_encoder(tiny)
    report = train(ranker, lists, rankings(lists), tmp_path, n_passages=n_passages, n_epochs=6)
    assert (report.n_train, report.n_held_out, report.n_left_out) == (20, 4, 0)
    assert (report.kind, report.loss, report.kept) == ("late-interaction", "p_list_mle", "trained")
    assert report.agreement_retrieval == 0.25
    assert report.agreement_trained > report.agreement_untrained + 0.3
    held_out = informative_orders(lists, rankings(lists), TEXTS, seed=1).part(20, None)
    assert held_out.agreement_of(ranker) == pytest.approx(report.agreement_trained)
    assert tiny.encode(["cats purr"]) == pytest.approx(before)


def test_a_training_that_agrees_less_is_undone(tiny: SentenceTransformer, tmp_path: Path) -> None:
    lists = records(copies=6)
    ranker, untouched = (LateInteractionRanker.from_encoder(tiny) for _ in range(2))
    report = train(ranker, lists, at_odds(lists), tmp_path, n_epochs=6)
    assert report.agreement_trained < report.agreement_untrained
    assert report.kept == "untrained"
    assert ranker.head == Head()
    assert ranker.score(lists, TEXTS) == untouched.score(lists, TEXTS)


def test_the_papers_recipe_keeps_its_training_and_hears_the_model_alone(
    tiny: SentenceTransformer, tmp_path: Path
) -> None:
    lists = records(copies=6)
    ranker, untouched = (LateInteractionRanker.from_encoder(tiny) for _ in range(2))
    report = train(ranker, lists, at_odds(lists), tmp_path, weighs_signals=False)
    assert report.agreement_trained is not None and report.agreement_trained < report.agreement_untrained
    assert (report.kept, report.loss, report.agreement_fitted) == ("trained", "list_mle", None)
    assert ranker.head == Head(model=25.0, dense=0.0, lexical=0.0)
    assert (weights_of(ranker) - weights_of(untouched)).abs().max() > 1e-3


@pytest.mark.parametrize("of_held_out", [True, False])
def test_the_head_is_fitted_to_the_orders_that_are_held_out(
    ranker: LateInteractionRanker, tmp_path: Path, of_held_out: bool
) -> None:
    """Those that trained would make the model's own score look better than it is."""
    lists = records(copies=9)
    dense = {p: place / 4 for place, p in enumerate(sorted(TEXTS, reverse=of_held_out))}
    lists = [replace(r, candidates=tuple(replace(c, dense=dense[c.passage]) for c in r.candidates)) for r in lists]
    before = weights_of(ranker)
    report = train(ranker, lists, at_odds(lists), tmp_path, learning_rate=0.0)
    assert report.n_held_out == 6
    if of_held_out:
        assert report.agreement_fitted > report.agreement_untrained
        assert report.kept == "fitted", "of a training that brought nothing more, nothing is kept"
        assert ranker.head.dense > Head().dense
    else:
        assert ranker.head.dense <= Head().dense
    assert torch.equal(weights_of(ranker), before)


def test_where_the_model_is_not_to_train_only_the_head_is_fitted(ranker: LateInteractionRanker, tmp_path: Path) -> None:
    dense = {p: place / 4 for place, p in enumerate(sorted(TEXTS, reverse=True))}  # as the teacher has them
    lists = [
        replace(r, candidates=tuple(replace(c, dense=dense[c.passage]) for c in r.candidates))
        for r in records(copies=9)
    ]
    teacher = {r.id: Ranking(id=r.id, ranking=tuple(sorted(TEXTS)), shown=tuple(sorted(TEXTS))) for r in lists}
    before = weights_of(ranker)
    steps: list[int] = []
    report = train(ranker, lists, teacher, tmp_path, lambda done, total: steps.append(done), trains_model=False)
    assert (report.kept, report.loss, report.agreement_trained, steps) == ("fitted", "", None, [])
    assert report.agreement_fitted is not None and report.agreement_fitted > report.agreement_untrained
    assert ranker.head.dense > Head().dense
    assert torch.equal(weights_of(ranker), before)


def test_texts_are_cut_while_it_trains_and_whole_when_it_scores(tmp_path: Path) -> None:
    """What differs stands beyond the cut: training sees equal passages, and learns nothing from them."""
    tiny = tiny_transformer(tmp_path, dropout=0.0)
    texts = {p: "the of and " * 4 + text for p, text in TEXTS.items()}
    lists = records(copies=6)
    losses = {}
    for max_tokens in (32, 8):
        ranker = LateInteractionRanker.from_encoder(tiny)
        settings = RankerSettings(learning_rate=0.0, n_epochs=1, seed=1, max_tokens=max_tokens)
        folder = tmp_path / str(max_tokens)
        before = ranker.score(lists, texts)
        train_ranker(ranker, lists, rankings(lists), texts, folder, settings, no_progress)
        assert ranker.model.max_seq_length == 32
        ranker.head = Head()
        assert ranker.score(lists, texts) == before
        (line,) = (folder / LOSSES_FILE).read_text().splitlines()
        losses[max_tokens] = json.loads(line)["loss"]
    assert losses[8] != pytest.approx(losses[32], rel=0.01)


@pytest.mark.parametrize("weighs_signals", [True, False])
def test_a_loss_that_is_no_number_leaves_the_ranker_as_it_began(
    tiny: SentenceTransformer, tmp_path: Path, weighs_signals: bool
) -> None:
    """Even if it is over before ten steps, after which the loss is logged."""
    lists = records(copies=3)
    ranker, untouched = (LateInteractionRanker.from_encoder(tiny) for _ in range(2))
    settings = {"learning_rate": float("inf"), "batch_size": 2, "weighs_signals": weighs_signals}
    report = train(ranker, lists, rankings(lists), tmp_path, **settings)
    assert report.kept in {"untrained", "fitted"}
    assert "stays as it began" in report.notes[0]
    assert np.array_equal(np.array(ranker.features(lists, TEXTS)), np.array(untouched.features(lists, TEXTS)))
    assert (ranker.head.dense > 0) == weighs_signals


def test_a_killed_training_ends_with_the_same_ranker(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == total - 1:
            raise KilledError

    tiny = tiny_transformer(tmp_path, dropout=0.1)
    lists = records(copies=6)
    through, killed, resumed = (LateInteractionRanker.from_encoder(tiny) for _ in range(3))
    expected = train(through, lists, rankings(lists), tmp_path / "through")
    with pytest.raises(KilledError):
        train(killed, lists, rankings(lists), tmp_path / "twice", kill)
    steps: list[int] = []
    again = train(resumed, lists, rankings(lists), tmp_path / "twice", lambda done, total: steps.append(done))
    assert steps == [5, 6, 7, 8], "the first epoch is not trained again"
    assert again == expected
    assert torch.equal(weights_of(resumed), weights_of(through))
    assert resumed.score(lists, TEXTS) == through.score(lists, TEXTS)


def test_out_of_memory_halves_the_batches_and_goes_on(ranker: LateInteractionRanker, tmp_path: Path) -> None:
    """The batches are smaller, and with them the number of others' passages: what is learned is not quite the same."""
    waiting = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")]
    totals: set[int] = set()

    def on_progress(done: int, total: int) -> None:
        totals.add(total)
        if waiting:
            raise waiting.pop()

    lists = records(copies=6)
    report = train(ranker, lists, rankings(lists), tmp_path, on_progress)
    assert report.notes == ("Training ran out of memory with 6 questions in a batch and went on with 3.",)
    assert totals == {8}, "a step still has as many lists"
    assert report.kept == "trained"


def test_a_tracker_that_is_not_there_is_said_before_training(ranker: LateInteractionRanker, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pip install no_such_tracker"):
        train(ranker, records(copies=3), rankings(records(copies=3)), tmp_path, report_to="no_such_tracker")


@pytest.mark.parametrize(
    ("lists", "weight", "left_out"),
    [
        (records(copies=2), 0.0, 8),
        (records()[:1], 1.0, 0),
        ([replace(r, candidates=r.candidates[:1]) for r in records()], 1.0, 4),
        ([], 1.0, 0),
    ],
    ids=["all weights 0", "one list", "one candidate each", "none"],
)
@pytest.mark.parametrize("weighs_signals", [True, False])
def test_with_nothing_to_learn_from_the_ranker_stays_and_it_is_said(
    ranker: LateInteractionRanker,
    tmp_path: Path,
    lists: list[CandidateList],
    weight: float,
    left_out: int,
    weighs_signals: bool,
) -> None:
    before = weights_of(ranker)
    report = train(ranker, lists, rankings(lists, weight=weight), tmp_path, weighs_signals=weighs_signals)
    assert (report.kept, report.n_train, report.n_left_out) == ("untrained", 0, left_out)
    assert "stays as it began" in report.notes[0]
    assert ranker.head == (Head() if weighs_signals else Head(dense=0.0, lexical=0.0))
    assert torch.equal(weights_of(ranker), before)


def test_only_what_the_teacher_saw_counts_each_passage_once_and_weight_0_drops_a_list() -> None:
    lists = records(copies=1)
    lists[1] = replace(lists[1], candidates=(*lists[1].candidates, lists[1].candidates[0]))
    teacher = rankings(lists)
    teacher["cats0"] = replace(teacher["cats0"], shown=("cats", "bread", "mars"))
    teacher["dogs0"] = replace(teacher["dogs0"], weight=0.0)
    teacher["mars0"] = Ranking(id="mars0", ranking=(), shown=tuple(sorted(TEXTS)))
    del teacher["bread0"]
    orders = informative_orders(lists, teacher, TEXTS, seed=1)
    assert [record.id for record in orders.records] == ["cats0"]
    assert [c.passage for c in orders.records[0].candidates] == ["bread", "cats", "mars"]
    assert orders.targets == [[3, 2, 0]]


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
