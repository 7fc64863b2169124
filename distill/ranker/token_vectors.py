"""Token vectors of passages, kept from one scoring to the next: making them is what late interaction costs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

_MOST = 1_500_000  # 1.2 GB at 384 dimensions and 2 bytes


class TokenVectors:
    """Token vectors by passage id, of one model at a time: those of other weights are forgotten."""

    def __init__(self, n_most: int = _MOST) -> None:
        self._n_most = n_most
        self._n_kept = 0
        self._model = ""
        self._kept: dict[str, Tensor] = {}

    def of(self, model: nn.Module) -> Mapping[str, Tensor]:
        """What is kept for `model` as its weights are now."""
        digest = _digest(model)
        if digest != self._model:
            self._model, self._kept, self._n_kept = digest, {}, 0
        return self._kept

    def keep(self, vectors: Mapping[str, Tensor]) -> None:
        """Takes more of the model that `of` was asked about last, while there is room."""
        n_tokens = sum(len(each) for each in vectors.values())
        if self._n_kept + n_tokens <= self._n_most:
            self._kept.update(vectors)
            self._n_kept += n_tokens


def _digest(model: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().data)
    return digest.hexdigest()
