"""Training the query side moves the questions only, and the index keeps its vectors."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tiny_encoders import WORDS, tiny_static, tiny_transformer

from distill.records import ScoreList
from distill.retriever.lists import DEFAULTS, Training, TrainingList
from distill.retriever.losses import CorpusKLDivLoss, ListTargets
from distill.retriever.training import FrozenCorpus, frozen_corpus, train_retriever
from indexes.encoders.loading import load_encoder
from indexes.encoders.torch import SentenceTransformerEncoder
from indexes.errors import InputError
from indexes.ingest import add_files
from indexes.passage_index import PassageIndex
from indexes.paths import DataPaths
from indexes.types import Vectors

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
TEXTS = {word: f"the {word} is about {word}" for word in WORDS[:10]}


def records(n: int = 80) -> list[ScoreList]:
    """Each question asks for one word; the teacher wants the passage of the next word."""
    words = sorted(TEXTS)
    return [
        ScoreList(
            id=str(i),
            question=f"what is {words[i % 10]} question {'the ' * (i % 3)}",
            passages=(words[(i + 1) % 10], words[i % 10], words[(i + 4) % 10]),
            scores=(6.0, 0.0, 0.0),
        )
        for i in range(n)
    ]


SETTINGS = replace(DEFAULTS["query"], n_epochs=12, learning_rate=1e-2, static_learning_rate=0.1, batch_size=8)


def corpus_of(model: SentenceTransformer, **options: int) -> FrozenCorpus:
    def vectors_of(ids: list[str]) -> Vectors:
        return SentenceTransformerEncoder("base", model).encode_passages([TEXTS[each] for each in ids])

    return frozen_corpus(sorted(TEXTS), vectors_of, records(), n_most=options.get("n_most", 100), seed=1)


def job(tmp_path: Path) -> Training:
    return Training(config=SETTINGS, checkpoints=tmp_path / "checkpoints", seed=3, on_progress=lambda done, total: None)


def taught(model: SentenceTransformer, tmp_path: Path) -> SentenceTransformer:
    trained, report = train_retriever(model, records(), TEXTS, job(tmp_path), corpus_of(model))
    assert report.loss_at_last < report.loss_at_first
    return trained


def best_passage(model: SentenceTransformer, question: str) -> str:
    words = sorted(TEXTS)
    passages = model.encode_document([TEXTS[word] for word in words], normalize_embeddings=True)
    return words[int(np.argmax(passages @ model.encode_query(question, normalize_embeddings=True)))]


def saved(model: SentenceTransformer, folder: Path) -> Path:
    """`folder` with the encoder as "base", and as "taught" what it was taught to be."""
    model.save_pretrained(str(folder / "base"), create_model_card=False)
    taught(model, folder).save_pretrained(str(folder / "taught"), create_model_card=False)
    return folder


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformer")
    return saved(tiny_transformer(folder), folder)


@pytest.mark.parametrize("kind", ["transformer", "static"])
def test_questions_move_to_what_the_teacher_wants_and_passages_stay_to_the_bit(
    tmp_path: Path, transformer: Path, kind: str
) -> None:
    folder = transformer if kind == "transformer" else saved(tiny_static(), tmp_path)
    model, anyone = (SentenceTransformer(str(folder / name), device="cpu") for name in ("base", "taught"))
    before = model.encode_document(list(TEXTS.values()))
    assert np.array_equal(anyone.encode_document(list(TEXTS.values())), before)
    right = [best_passage(anyone, each.question) == each.passages[0] for each in records()]
    assert np.mean(right) > 0.8
    assert np.mean([best_passage(model, each.question) == each.passages[0] for each in records()]) < 0.5


def test_the_baselines_collection_serves_the_taught_encoder_and_outlives_either(
    tmp_path: Path, paths: DataPaths, transformer: Path
) -> None:
    shutil.copytree(transformer / "base", paths.encoder("base"))
    files = []
    for word, text in TEXTS.items():
        files.append(tmp_path / f"{word}.txt")
        files[-1].write_text(text, encoding="utf-8")
    base = load_encoder("base", paths)
    list(add_files(paths, "words", files, base))
    shutil.copytree(transformer / "taught", paths.encoder("taught"))

    encoder = load_encoder("taught", paths)
    assert encoder.fingerprint == base.fingerprint
    progress = [event for event in add_files(paths, "words", [], encoder) if event.stage == "embedding"]
    assert {(event.done, event.total) for event in progress} == {(0, 0)}
    question = records()[0]
    found = PassageIndex.open(paths, "words", encoder).search(question.question, 1)
    assert found[0].passage.text == TEXTS[question.passages[0]]
    assert PassageIndex.open(paths, "words", base).search(question.question, 1) != found


@pytest.mark.parametrize("train", ["query", "both"])
def test_an_encoder_with_two_sides_can_be_taught_again(tmp_path: Path, transformer: Path, train: str) -> None:
    """A second run on a promoted encoder must not mistake its passage side for both."""
    model = SentenceTransformer(str(transformer / "taught"), device="cpu")
    before = model.encode_document(list(TEXTS.values()))
    settings = replace(SETTINGS, train=train, n_epochs=4, learning_rate=5e-3)
    again = replace(job(tmp_path), config=settings, checkpoints=tmp_path / "again")
    turned = [replace(each, scores=(0.0, 0.0, 6.0)) for each in records()]
    trained, report = train_retriever(model, turned, TEXTS, again, corpus_of(model))
    assert report.loss_at_last < report.loss_at_first
    assert np.array_equal(trained.encode_document(list(TEXTS.values())), before) == (train == "query")
    assert not np.array_equal(trained.encode_query(["what is cats"]), trained.encode_document(["what is cats"]))


def test_a_smaller_batch_for_want_of_memory_gives_the_same_weights(tmp_path: Path) -> None:
    trained = []
    for name in ("enough", "scarce"):
        model = tiny_transformer(tmp_path, dropout=0.0)
        waiting = [torch.OutOfMemoryError("CUDA out of memory.")] if name == "scarce" else []

        def on_progress(done: int, total: int, waiting: list[Exception] = waiting) -> None:  # type: ignore[assignment]
            if waiting:
                raise waiting.pop()

        config = replace(SETTINGS, n_epochs=1, half_precision=False)
        training = Training(config=config, checkpoints=tmp_path / name, seed=3, on_progress=on_progress)
        encoder, report = train_retriever(model, records(), TEXTS, training, corpus_of(model))
        assert (len(report.notes), report.n_steps) == (int(name == "scarce"), 10)
        trained.append(encoder.encode_query(list(TEXTS.values())))
    assert not np.allclose(trained[0], model.encode_query(list(TEXTS.values())), atol=1e-2)
    assert np.allclose(trained[0], trained[1], atol=1e-4)


def test_a_sample_stands_for_a_large_corpus_without_changing_what_is_expected() -> None:
    """Without the shares, a sampled softmax would push questions too little away from the rest of the corpus."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lists = [TrainingList(question="q", passages=("0", "1"), scores=(1.0, 0.0))]
    record = [ScoreList(id="q", question="q", passages=("0", "1"), scores=(1.0, 0.0))]

    def loss_with(n_most: int, seed: int) -> float:
        corpus = frozen_corpus(
            [str(i) for i in range(3000)],
            lambda ids: vectors[[int(each) for each in ids]],
            record,
            n_most=n_most,
            seed=seed,
        )
        targets = ListTargets(lists, corpus.numbers, student_temperature=0.2)

        class Fixed(torch.nn.Module):
            def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
                return {"sentence_embedding": torch.from_numpy(vectors[:1] + vectors[1:2])}

        loss = CorpusKLDivLoss(Fixed(), targets, corpus.vectors, corpus.log_shares)  # type: ignore[arg-type]
        return float(loss([{}], torch.tensor([0])))

    whole = loss_with(10_000, 0)
    assert len({loss_with(10_000, seed) for seed in range(3)}) == 1
    assert np.mean([loss_with(300, seed) for seed in range(20)]) == pytest.approx(whole, abs=0.05)


def test_without_the_corpus_vectors_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vectors of the corpus"):
        train_retriever(tiny_static(), records(), TEXTS, job(tmp_path))
