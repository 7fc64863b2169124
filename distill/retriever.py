"""Stage 2: the retriever learns the ranker's scores (KL divergence)."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill.jsonl import Record
from distill.training import (
    ProgressCallback,
    last_checkpoint,
    quiet_trainer,
    split_for_early_stopping,
    trainer_options,
)
from indexes.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

# Our choices. Cosines lie in [-1, 1]: at temperature 1 a softmax over 20 of them is nearly flat.
N_EPOCHS = 2
N_PASSAGES = 10  # of a question's scored candidates, from the ranker's best to its worst: cost grows with each
MAX_TOKENS = 192  # while training; nothing is cut when the encoder is used
LEARNING_RATE = 2e-5
BATCH_SIZE = 4  # questions, each with all its candidates
STUDENT_TEMPERATURE = 0.05
TEACHER_TEMPERATURE = 1.0


def train_retriever(
    model: SentenceTransformer,
    records: Sequence[Record],
    texts: Mapping[str, str],
    folder: Path,
    checkpoints: Path,
    *,
    card: Mapping[str, str],
    seed: int,
    on_progress: Callable[[int, int], None],
    n_epochs: int = N_EPOCHS,
) -> None:
    """Trains `model` in place on the ranker's scores and writes it to `folder`, a plain sentence-transformers folder.

    `records` are {"question", "passages": [ids], "scores": [floats]}. A sixth of the lists is held out; the epoch
    with the least divergence on them is the one that is kept.
    """
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss

    lists = equally_long([spread(record, N_PASSAGES) for record in records])
    n_train, n_held_out = split_for_early_stopping(len(lists))
    if not n_held_out:
        raise InputError(
            f"Training takes at least two questions with candidates, but there are {len(lists)}. Add more questions."
        )
    model.model_card_data.generate_widget_examples = False  # they would be computed, and never shown
    options = trainer_options(checkpoints, seed=seed, device=model.device.type)
    arguments = SentenceTransformerTrainingArguments(
        num_train_epochs=n_epochs,
        learning_rate=LEARNING_RATE,
        per_device_train_batch_size=BATCH_SIZE,
        per_device_eval_batch_size=BATCH_SIZE,
        **options,
    )
    loss = DistillKLDivLoss(model, student_temperature=STUDENT_TEMPERATURE, teacher_temperature=TEACHER_TEMPERATURE)
    trainer = quiet_trainer(
        SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=_dataset(lists[:n_train], texts),
            eval_dataset=_dataset(lists[n_train:], texts),
            loss=loss,
            callbacks=[ProgressCallback(on_progress)],
        )
    )
    max_tokens, model.max_seq_length = model.max_seq_length, min(MAX_TOKENS, model.max_seq_length or MAX_TOKENS)
    trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    model.max_seq_length = max_tokens
    save_encoder(model, folder, card)


def spread(record: Record, n: int) -> Record:
    """`record` with `n` of its candidates at even steps from the best to the worst score, so that the list keeps both
    the ranker's favourites and what it thinks little of.
    """
    order = sorted(range(len(record["scores"])), key=lambda place: -record["scores"][place])
    last = len(order) - 1
    chosen = order if last < n else [order[round(step * last / (n - 1))] for step in range(n)]
    return record | {key: [record[key][place] for place in chosen] for key in ("passages", "scores")}


def equally_long(records: Sequence[Record]) -> list[Record]:
    """The lists that have at least the commonest number of candidates, cut to it: the loss takes a full matrix."""
    n = Counter(len(record["passages"]) for record in records).most_common(1)[0][0]
    return [
        record | {"passages": record["passages"][:n], "scores": record["scores"][:n]}
        for record in records
        if len(record["passages"]) >= n
    ]


def _dataset(records: Sequence[Record], texts: Mapping[str, str]) -> Dataset:
    """Columns question, passage_1 … passage_N and label (N scores)."""
    from datasets import Dataset

    columns: dict[str, list[object]] = {"question": [record["question"] for record in records]}
    for place in range(len(records[0]["passages"])):
        columns[f"passage_{place + 1}"] = [texts[record["passages"][place]] for record in records]
    return Dataset.from_dict(columns | {"label": [record["scores"] for record in records]})


def save_encoder(model: SentenceTransformer, folder: Path, card: Mapping[str, str]) -> None:
    """Writes `model` with a card of `card`'s facts to `folder`, which appears complete or not at all."""
    partial = folder.with_name(f".{folder.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    # The library's own card would quote training questions and passages, which are the user's private texts.
    model.save_pretrained(str(partial), create_model_card=False)
    (partial / "README.md").write_text(_card_text(card), encoding="utf-8")
    partial.rename(folder)


def _card_text(card: Mapping[str, str]) -> str:
    rows = "\n".join(f"| {key} | {_cell(value)} |" for key, value in card.items())
    return (
        "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n---\n\n"
        f"# {card['name']}\n\nA retriever taught by Intermediate Distillation (arXiv 2406.12169): an LLM's order of "
        "passages trained a ranker (ListMLE), and the ranker's scores trained this encoder (KL divergence).\n\n"
        f"| | |\n|---|---|\n{rows}\n"
        f"| epochs, learning rate, batch | {N_EPOCHS}, {LEARNING_RATE}, {BATCH_SIZE} |\n"
        f"| temperatures (student, teacher) | {STUDENT_TEMPERATURE}, {TEACHER_TEMPERATURE} |\n"
    )


def _cell(value: str) -> str:
    """`value` on one line and without the mark that ends a table's cell."""
    return " ".join(value.split()).replace("|", "\\|")
