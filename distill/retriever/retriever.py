"""Stage 2: the retriever learns how likely each passage is the answer, by KL divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from distill.jsonl import Record
from distill.retriever.settings import RetrieverConfig, RetrieverReport, Training
from distill.retriever.training_lists import TrainingList, training_lists
from indexes.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from distill.retriever.list_batches import ListCollator
    from distill.retriever.query_side import FrozenCorpus


def train_retriever(
    model: SentenceTransformer,
    records: Sequence[Record],
    texts: Mapping[str, str],
    training: Training,
    corpus: FrozenCorpus | None = None,
) -> tuple[SentenceTransformer, RetrieverReport]:
    """The trained encoder, for `publishing.save_encoder`, and what training did; the weights of `model` are changed.

    `records` are target records (`distill.retriever.targets`); `corpus` holds the fixed vectors that "query" needs. A
    killed training goes on from its last checkpoint and ends with the weights that it would have had.
    """
    lists = training_lists(records, texts, training.config.n_passages)
    if not lists:
        raise InputError("Training takes at least one question with candidates, but there is none. Add more questions.")
    if training.config.train == "query":
        from distill.retriever.query_side import train_query_side

        if corpus is None:
            raise InputError(
                "Training the query side takes the vectors of the corpus, but none were given. "
                "Index the corpus with the base encoder first."
            )
        return train_query_side(model, lists, corpus, training)
    return model, _train_both_sides(model, lists, texts, training)


def _train_both_sides(
    model: SentenceTransformer, lists: Sequence[TrainingList], texts: Mapping[str, str], training: Training
) -> RetrieverReport:
    from distill.retriever.list_losses import ListKLDivLoss, ListTargets
    from distill.retriever.list_training import fit

    config = training.config
    # Equal texts are one passage: none is another's negative, and none is embedded twice.
    number_of_text: dict[str, int] = {}
    numbers = {
        passage: number_of_text.setdefault(texts[passage], len(number_of_text))
        for each in lists
        for passage in each.passages
    }
    numbers |= {p: number_of_text[texts[p]] for each in lists for p in each.apart if texts.get(p) in number_of_text}

    def make_loss(passages_at_once: int) -> ListKLDivLoss:
        return ListKLDivLoss(
            model,
            ListTargets(lists, numbers, student_temperature=config.student_temperature),
            in_batch_negatives=config.in_batch_negatives,
            passages_at_once=passages_at_once,
        )

    collator = _collator(model, lists, numbers, list(number_of_text), config)
    return fit(model, lists, make_loss, training, collator=collator)


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
