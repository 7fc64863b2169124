"""The few words of a passage that say what it is about."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

_N_WORDS = 9  # our choice: enough to know the subject, too few to copy a sentence
_SHORTEST = 4  # letters; shorter words are mostly grammar
_WORD = re.compile(r"[^\W\d_][\w'’-]*")


class Topics:
    """Which words of a text are rare in a corpus, whatever its language (words are what spaces divide)."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._n_texts = 0
        self._n_with: Counter[str] = Counter()
        for text in texts:
            self._n_texts += 1
            self._n_with.update({word.casefold() for word in _WORD.findall(text)})

    def of(self, text: str) -> str:
        """The up to nine words of `text` with the most weight (frequency × log inverse document frequency), in the
        order in which they come first; "" where words cannot be told apart."""
        spelled: dict[str, str] = {}
        weights: dict[str, float] = {}
        for word in _WORD.findall(text):
            key = word.casefold()
            if len(key) >= _SHORTEST:
                spelled.setdefault(key, word)
                rarity = math.log((1 + self._n_texts) / (1 + self._n_with[key]))
                weights[key] = weights.get(key, 0.0) + rarity
        chosen = set(sorted(weights, key=lambda key: -weights[key])[:_N_WORDS])
        return ", ".join(word for key, word in spelled.items() if key in chosen)
