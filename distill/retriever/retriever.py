"""Stage 2: the retriever learns a teacher's scores of whole lists (by KL divergence, or by their margins)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from distill.jsonl import Record
from distill.retriever.settings import DEFAULTS, RetrieverConfig, RetrieverReport, Training
from distill.retriever.training_lists import TrainingList, hold_out, training_lists
from indexes.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from distill.retriever.list_batches import ListCollator
    from distill.retriever.list_losses import ListKLDivLoss
    from distill.retriever.query_side import FrozenCorpus


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
