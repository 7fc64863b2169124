"""Stage 2: the retriever learns a teacher's scores of whole lists (KL divergence)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from distill.jsonl import Record
from distill.retriever.training_lists import TrainingList, hold_out, training_lists
from indexes.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from distill.retriever.list_batches import ListCollator
    from distill.retriever.list_losses import ListKLDivLoss
    from distill.retriever.query_side import FrozenCorpus

Train = Literal["full", "query", "lora"]
Objective = Literal["kl", "margin-mse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverConfig:
    """How stage 2 trains. Cosines lie in [-1, 1]: at a student temperature of 1 a softmax over them is nearly flat.

    - `query_first`: with "full", training of the query side comes first, at its own settings: what only the passages
      can learn is then left for the passages, each step of which costs a hundred times as much.
    - `train`: "full" moves the whole encoder; "lora" small matrices beside its weights, merged in at the end; "query" a
      copy of it for questions only, so that the passages keep their vectors.
    - `learning_rate`: of transformers; encoders without one (static embeddings) take `static_learning_rate`.
    - `batch_size`: questions in a step, each with its list, over all processes together.
    - `n_passages`: of a question's scored candidates, spread from the best to the worst.
    - `max_tokens`: of a passage, while training; nothing is cut when the encoder is used.
    - `objective`: "kl" over the list, or "margin-mse" between the first passage and each other one.
    - `in_batch_negatives`: the passages of the step's other lists join a list's softmax ("full" and "lora").
    - `passages_at_once`: in one forward pass; with `cached_gradients` no more than these are kept in memory.
    - `n_corpus`: with "query", at most so many passages beside the candidates stand for the corpus.
    - `n_held_out`: at most so many lists, and a sixth, decide which evaluation's weights are kept.
    - `patience`: training ends when so many evaluations in a row brought nothing.
    - `half_precision`: bfloat16 (float16 on older GPUs) inside the encoder where the device is faster with it.
    """

    train: Train = "full"
    query_first: bool = False
    n_epochs: int = 2
    learning_rate: float = 5e-5
    static_learning_rate: float = 1e-2
    batch_size: int = 16
    n_passages: int = 10
    max_tokens: int = 192
    student_temperature: float = 0.05
    teacher_temperature: float = 1.0
    objective: Objective = "kl"
    in_batch_negatives: bool = False
    cached_gradients: bool = False
    passages_at_once: int = 32
    n_corpus: int = 50_000
    n_held_out: int = 100
    evaluations_an_epoch: int = 1
    patience: int = 2
    lora_rank: int = 16
    half_precision: bool = True


# Our choices. On the query side an epoch is cheap, and the softmax is over the corpus, so long lists cost nothing.
DEFAULTS: Mapping[Train, RetrieverConfig] = {
    "full": RetrieverConfig(train="full", query_first=True, n_epochs=1, learning_rate=2e-5, evaluations_an_epoch=2),
    "query": RetrieverConfig(train="query", n_epochs=5, learning_rate=1e-4, batch_size=32, n_passages=50),
    "lora": RetrieverConfig(train="lora", n_epochs=3, learning_rate=5e-4, evaluations_an_epoch=2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of stage 2: its settings, its seed, where it may be resumed from, and whom it tells.

    `report_to` is "none" or a tracker such as "tensorboard" or "trackio".
    """

    config: RetrieverConfig
    checkpoints: Path
    seed: int
    on_progress: Callable[[int, int], None]
    report_to: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverReport:
    """What training did: the objective's loss on held-out lists (KL divergence, or squared error of the margins) before
    it and at the step that was kept (0: no step was better than none), and sentences on what had to be done for it.
    """

    n_train: int
    n_held_out: int
    lists_in_a_step: int
    best_step: int
    divergence_before: float
    divergence_after: float
    notes: tuple[str, ...] = ()


def train_retriever(
    model: SentenceTransformer,
    records: Sequence[Record],
    texts: Mapping[str, str],
    training: Training,
    corpus: FrozenCorpus | None = None,
) -> tuple[SentenceTransformer, RetrieverReport]:
    """The trained encoder, for `publishing.save_encoder`, and what training did; the weights of `model` are changed.

    `records` are score records with an optional "weight"; `corpus` holds the fixed vectors that "query" needs. A
    killed training goes on from its last checkpoint and ends with the weights that it would have had.
    """
    if training.report_to != "none" and find_spec(training.report_to) is None:
        raise InputError(
            f"Reporting to '{training.report_to}' takes the package of this name, which is not installed: "
            f"pip install {training.report_to}"
        )
    lists = training_lists(records, texts, training.config.n_passages)
    if training.config.train == "query":
        from distill.retriever.query_side import train_query_side

        if corpus is None:
            raise InputError(
                "Training the query side takes the vectors of the corpus, but none were given. "
                "Index the corpus with the base encoder first."
            )
        return train_query_side(model, lists, corpus, training)
    if training.config.query_first:
        model = _query_first(model, records, texts, training, corpus)
    if training.config.train == "lora":
        from distill.retriever.adapters import add_adapter, merge_adapter

        add_adapter(model, rank=training.config.lora_rank, seed=training.seed)
        report = _train_both_sides(model, lists, texts, training)
        merge_adapter(model)
        return model, report
    return model, _train_both_sides(model, lists, texts, training)


def _query_first(
    model: SentenceTransformer,
    records: Sequence[Record],
    texts: Mapping[str, str],
    training: Training,
    corpus: FrozenCorpus | None,
) -> SentenceTransformer:
    config = replace(DEFAULTS["query"], objective=training.config.objective)
    checkpoints = training.checkpoints / "query"
    first = replace(training, config=config, checkpoints=checkpoints)
    return train_retriever(model, records, texts, first, corpus)[0]


def _train_both_sides(
    model: SentenceTransformer, lists: Sequence[TrainingList], texts: Mapping[str, str], training: Training
) -> RetrieverReport:
    from distill.retriever.list_losses import ListKLDivLoss
    from distill.retriever.list_training import fit, list_targets

    config = training.config
    train, held_out = hold_out([each for each in lists if len(each.passages) > 1], config.n_held_out, training.seed)
    # Equal texts are one passage: none is another's negative, and none is embedded twice.
    number_of_text: dict[str, int] = {}
    numbers = {
        passage: number_of_text.setdefault(texts[passage], len(number_of_text))
        for each in (*train, *held_out)
        for passage in each.passages
    }

    def make_loss(mini_batch_size: int, cached: bool) -> ListKLDivLoss:
        return ListKLDivLoss(
            model,
            list_targets(train, held_out, numbers, config),
            in_batch_negatives=config.in_batch_negatives,
            mini_batch_size=mini_batch_size,
            cached=cached,
        )

    collator = _collator(model, (*train, *held_out), numbers, list(number_of_text), config)
    return fit(model, train, held_out, make_loss, training, collator=collator)


def _collator(
    model: SentenceTransformer,
    lists: Sequence[TrainingList],
    numbers: Mapping[str, int],
    texts: Sequence[str],
    config: RetrieverConfig,
) -> ListCollator:
    from distill.retriever.list_batches import ListCollator
    from distill.retriever.list_training import prompt_for, question_options

    longest = model.max_seq_length
    return ListCollator(
        preprocess_fn=model.preprocess,
        rows=[[numbers[passage] for passage in each.passages] for each in lists],
        texts=texts,
        passage_prompt=prompt_for(model, ("document", "passage", "corpus")),
        # Static embeddings have no limit, and take none.
        passage_tokens=min(config.max_tokens, longest) if longest and longest < float("inf") else None,
        **question_options(model),
    )
