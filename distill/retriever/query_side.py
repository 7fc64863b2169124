"""Stage 2 on the query side alone: questions get an encoder of their own, and the passages keep their vectors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.jsonl import Record
from distill.retriever.settings import RetrieverReport, Training
from distill.retriever.training_lists import TrainingList
from indexes.types import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from distill.retriever.list_losses import CorpusKLDivLoss


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenCorpus:
    """Passages with their unit vectors (P, D) by the base encoder; each stands for exp(`log_shares`) passages (P,)."""

    numbers: Mapping[str, int]
    vectors: Vectors
    log_shares: Vectors


def frozen_corpus(
    ids: Sequence[str],
    vectors_of: Callable[[Sequence[str]], Vectors],
    records: Sequence[Record],
    *,
    n_most: int,
    seed: int,
) -> FrozenCorpus:
    """All passages `ids` of a corpus, or of a large one the candidates of `records` and `n_most` others, by `seed`.

    Each drawn one stands for as many passages as it was drawn from, so the student's softmax over the sample estimates
    the one over the corpus. `vectors_of` looks stored vectors up, such as `PassageIndex.vectors`.
    """
    candidates = {passage for record in records for passage in record["passages"]}
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
    from distill.retriever.list_losses import CorpusKLDivLoss, ListTargets
    from distill.retriever.list_training import fit

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
