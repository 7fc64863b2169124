"""Stage 2: the retriever learns how likely each passage is the answer, on both sides or on the questions' alone."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.records import RetrieverReport, ScoreList
from distill.retriever.lists import RetrieverConfig, Training, TrainingList, training_lists
from indexes.errors import InputError
from indexes.types import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from distill.retriever.loop import ListCollator
    from distill.retriever.losses import CorpusKLDivLoss


def train_retriever(
    model: SentenceTransformer,
    records: Sequence[ScoreList],
    texts: Mapping[str, str],
    training: Training,
    corpus: FrozenCorpus | None = None,
) -> tuple[SentenceTransformer, RetrieverReport]:
    """The trained encoder, for `publishing.save_encoder`, and what training did; the weights of `model` are changed.

    `records` are the targets (`distill.retriever.lists`); `corpus` holds the fixed vectors that "query" needs. A
    killed training goes on from its last checkpoint and ends with the weights that it would have had.
    """
    lists = training_lists(records, texts, training.config.n_passages)
    if not lists:
        raise InputError("Training takes at least one question with candidates, but there is none. Add more questions.")
    if training.config.train == "query":
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
    from distill.retriever.loop import fit
    from distill.retriever.losses import ListKLDivLoss, ListTargets

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
    from distill.retriever.loop import ListCollator, prompt_for, question_options

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenCorpus:
    """Passages with their unit vectors (P, D) by the base encoder; each stands for exp(`log_shares`) passages (P,)."""

    numbers: Mapping[str, int]
    vectors: Vectors
    log_shares: Vectors


def frozen_corpus(
    ids: Sequence[str],
    vectors_of: Callable[[Sequence[str]], Vectors],
    records: Sequence[ScoreList],
    *,
    n_most: int,
    seed: int,
) -> FrozenCorpus:
    """All passages `ids` of a corpus, or of a large one the candidates of `records` and `n_most` others, by `seed`.

    Each drawn one stands for as many passages as it was drawn from, so the student's softmax over the sample estimates
    the one over the corpus. `vectors_of` looks stored vectors up, such as `PassageIndex.vectors`.
    """
    candidates = {passage for record in records for passage in record.passages}
    others = sorted(set(ids) - candidates)
    n_drawn = min(len(others), n_most)
    drawn = np.random.default_rng(seed).permutation(len(others))[:n_drawn].tolist()
    chosen = [*sorted(candidates), *(others[place] for place in sorted(drawn))]
    log_shares = np.zeros(len(chosen), dtype=np.float32)
    if n_drawn:
        log_shares[len(candidates) :] = np.log(len(others) / n_drawn)
    return FrozenCorpus(
        numbers={passage: number for number, passage in enumerate(chosen)},
        vectors=np.asarray(vectors_of(chosen), dtype=np.float32),
        log_shares=log_shares,
    )


def train_query_side(
    model: SentenceTransformer, lists: Sequence[TrainingList], corpus: FrozenCorpus, training: Training
) -> tuple[SentenceTransformer, RetrieverReport]:
    """An encoder whose query side has learned the teacher's `lists` and whose passage side is `model` as it came."""
    from distill.retriever.loop import fit
    from distill.retriever.losses import CorpusKLDivLoss, ListTargets

    query_side = encoder_of(copy.deepcopy(side(model, "query")), like=model)

    def make_loss(_: int) -> CorpusKLDivLoss:
        targets = ListTargets(lists, corpus.numbers, student_temperature=training.config.student_temperature)
        return CorpusKLDivLoss(query_side, targets, corpus.vectors, corpus.log_shares)

    report = fit(query_side, lists, make_loss, training, lengths=[len(each.question) for each in lists])
    return two_sided(side(query_side, "query"), side(model, "document"), like=model), report


def two_sided(
    query_modules: Sequence[nn.Module], passage_modules: Sequence[nn.Module], *, like: SentenceTransformer
) -> SentenceTransformer:
    """One encoder of two, with prompts and similarity of `like`; `encode` without a side raises `ValueError`.

    A default side would answer LangChain's and Chroma's wrappers, which name none, with passages' vectors of questions.
    """
    from sentence_transformers.base.modules import Router

    router: Any = Router
    sides = {"query": list(query_modules), "document": list(passage_modules)}
    return encoder_of([router(sides, allow_empty_key=False)], like=like)


def encoder_of(modules: list[nn.Module], *, like: SentenceTransformer) -> SentenceTransformer:
    """An encoder of `modules` with the prompts and the similarity of `like`, on the same device."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        modules=modules,
        prompts={name: prompt or "" for name, prompt in like.prompts.items()},
        default_prompt_name=like.default_prompt_name,
        similarity_fn_name=like.similarity_fn_name,
        device=str(like.device),
    )


def side(model: SentenceTransformer, route: str) -> list[nn.Module]:
    """The modules that embed questions ("query") or passages ("document") in `model`."""
    from sentence_transformers.base.modules import Router

    modules = list(model.children())
    if isinstance(modules[0], Router):
        return [*modules[0].sub_modules[route].children(), *modules[1:]]
    return modules


_POWER = 0.5  # of the inverse document frequency; our choice, see docs/log.md
_AT_ONCE = 256  # texts tokenised in one call


def weigh_rare_words(model: SentenceTransformer, texts: Sequence[str]) -> SentenceTransformer | None:
    """`model` with a passage side that averages its token vectors by their rarity in `texts`, and the same question
    side; None where passages are not an average of a transformer's token vectors.

    A plain average drowns the words that tell a specialist's passages apart in those that they all have. The weights
    are the square root of BM25's inverse document frequency (Robertson & Spärck Jones), the idea that of SIF (Arora,
    Liang & Ma 2017). Questions stay a plain average: theirs is the side that training moves.
    """
    import copy

    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer, WordWeights

    first, *others = copy.deepcopy(side(model, "document"))
    if not (isinstance(first, Transformer) and others and isinstance(others[0], Pooling)):
        return None
    if others[0].pooling_mode != "mean":
        return None
    vocabulary = sorted(first.tokenizer.get_vocab().items(), key=lambda item: item[1])
    weights = rarity(model, texts)
    if not weights or [number for _, number in vocabulary] != list(range(len(vocabulary))):
        return None
    unseen = max(weights.values())
    words = WordWeights(
        [word for word, _ in vocabulary], {word: weights.get(number, unseen) for word, number in vocabulary}
    )
    # Unit token vectors, as late interaction compares them: otherwise their lengths weigh as much as the words do.
    tokens = Normalize(module_input_name="token_embeddings")
    return two_sided(side(model, "query"), [first, tokens, words, *others], like=model)


def rarity(model: SentenceTransformer, texts: Sequence[str]) -> dict[int, float]:
    """The weight of each token id that stands in `texts`: the root of its inverse document frequency, 1 on average."""
    n_with: Counter[int] = Counter()
    n_tokens: Counter[int] = Counter()
    for first in range(0, len(texts), _AT_ONCE):
        batch = model.tokenizer(list(texts[first : first + _AT_ONCE]), truncation=True, max_length=_longest(model))
        for ids in batch["input_ids"]:
            n_with.update(set(ids))
            n_tokens.update(ids)
    weights = {token: _weight(n, len(texts)) for token, n in n_with.items()}
    total = sum(weights[token] * n for token, n in n_tokens.items())
    mean = total / n_tokens.total() if total else 1.0
    return {token: weight / mean for token, weight in weights.items()}


def _weight(n_with: int, n_texts: int) -> float:
    return float(math.log(1 + (n_texts - n_with + 0.5) / (n_with + 0.5)) ** _POWER)


def _longest(model: SentenceTransformer) -> int:
    limit = model.max_seq_length
    return int(limit) if limit and math.isfinite(limit) else 512
