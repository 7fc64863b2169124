"""What the retriever trains on: full, spread lists; and what it leaves: a folder that appears whole."""

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from distill.jsonl import Record
from distill.retriever import equally_long, save_encoder, spread, train_retriever
from indexes.encoders import DEFAULT_ENCODER, find_encoder
from indexes.errors import InputError
from indexes.paths import DataPaths

TEXTS = {
    "cats": "Cats purr when they are content and hunt mice at night.",
    "dogs": "Dogs bark at strangers and guard the house.",
    "bread": "Bread is baked from flour, water and yeast.",
    "mars": "Mars is the fourth planet and has two small moons.",
}


def record(n: int) -> Record:
    return {"question": "q", "passages": [f"p{i}" for i in range(n)], "scores": [float(i) for i in range(n)]}


@pytest.fixture
def model(paths: DataPaths) -> SentenceTransformer:
    return SentenceTransformer(str(find_encoder(DEFAULT_ENCODER, paths)))


def test_a_long_list_keeps_its_best_and_its_worst_and_even_steps_between() -> None:
    assert spread(record(9), 5)["passages"] == ["p8", "p6", "p4", "p2", "p0"]
    assert spread(record(9), 5)["scores"] == [8.0, 6.0, 4.0, 2.0, 0.0]
    assert sorted(spread(record(3), 5)["passages"]) == ["p0", "p1", "p2"]


def test_lists_are_cut_to_the_commonest_length_and_shorter_ones_left_out() -> None:
    lists = equally_long([record(4), record(4), record(6), record(2)])
    assert [len(each["passages"]) for each in lists] == [4, 4, 4]
    assert [len(each["scores"]) for each in lists] == [4, 4, 4]


def test_training_moves_a_question_towards_the_passage_that_the_ranker_prefers(
    model: SentenceTransformer, paths: DataPaths, tmp_path: Path
) -> None:
    questions = [f"What should be known in case number {n}?" for n in range(12)]
    passages = sorted(TEXTS)
    records = [{"question": q, "passages": passages, "scores": [0.0, 0.0, 0.0, 8.0]} for q in questions]

    def similarity(encoder: SentenceTransformer) -> float:
        question, passage = encoder.encode([questions[0], TEXTS["mars"]], normalize_embeddings=True)
        return float(question @ passage)

    before, length = similarity(model), model.max_seq_length
    train_retriever(
        model,
        records,
        TEXTS,
        paths.encoder("taught"),
        tmp_path / "checkpoints",
        card={"name": "taught"},
        seed=1,
        on_progress=lambda done, total: None,
    )
    saved = SentenceTransformer(str(paths.encoder("taught")))
    assert similarity(saved) > before
    assert saved.max_seq_length == length


def test_one_list_is_too_few(model: SentenceTransformer, paths: DataPaths, tmp_path: Path) -> None:
    one = [{"question": "q?", "passages": ["cats", "dogs"], "scores": [1.0, 0.0]}]
    with pytest.raises(InputError, match="at least two questions"):
        train_retriever(
            model,
            one,
            TEXTS,
            paths.encoder("taught"),
            tmp_path,
            card={"name": "taught"},
            seed=1,
            on_progress=lambda done, total: None,
        )
    assert not paths.encoder("taught").exists()


def test_the_card_holds_the_facts_and_no_training_text(model: SentenceTransformer, paths: DataPaths) -> None:
    save_encoder(model, paths.encoder("mine"), {"name": "mine", "corpus": "hand\nbook | x"})
    card = (paths.encoder("mine") / "README.md").read_text()
    assert "| corpus | hand book \\| x |" in card
    assert "Cats purr" not in card
