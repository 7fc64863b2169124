"""Passages whose rare words count more: a passage side that needs no training, only the corpus."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill.retriever.query_side import side, two_sided

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

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
