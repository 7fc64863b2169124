"""A name → a `Scorer`: a cross-encoder of sentence-transformers from a folder or a model hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexes.encoder_files import hub_answers
from indexes.errors import NotFoundError, UserError, WeightsError
from indexes.types import Candidate

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_BATCH_SIZE = 32


class CrossEncoderScorer:
    """A `Scorer` by a cross-encoder with one output."""

    def __init__(self, name: str, model: CrossEncoder) -> None:
        if model.num_labels != 1:
            raise WeightsError(
                f"A cross-encoder with one output was expected at '{name}', but it has {model.num_labels}: it sorts "
                "texts into classes. Give one that was trained to score pairs."
            )
        self.name = name
        self._model = model

    def score(self, question: str, candidates: Sequence[Candidate]) -> Sequence[float]:
        """The model's score of each candidate for `question`."""
        if not candidates:
            return []
        pairs = [(question, candidate.passage.full_text) for candidate in candidates]
        scores = self._model.predict(pairs, batch_size=_BATCH_SIZE, show_progress_bar=False)
        return [float(score) for score in np.asarray(scores, dtype=np.float32).reshape(-1)]


def load_cross_encoder(name: str) -> CrossEncoderScorer:
    """The cross-encoder in folder `name`, or the one that a model hub has under this name."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise NotFoundError(
                f"A cross-encoder was expected in folder '{name}', but it has no config.json. Give the folder that "
                "CrossEncoder.save_pretrained wrote."
            )
        try:
            return CrossEncoderScorer(name, _open(str(folder.resolve())))
        except UserError:
            raise
        except Exception as error:  # whatever torch, safetensors or the library say of a damaged folder
            raise WeightsError(
                f"The cross-encoder in folder '{name}' cannot be loaded: {error} Copy or train it again."
            ) from error
    try:
        return CrossEncoderScorer(name, _open(name, local_files_only=not hub_answers()))
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f"There is no cross-encoder '{name}': not as a folder, and the model hub does not have it or cannot be "
            "reached. Give a folder, or a name such as cross-encoder/ms-marco-MiniLM-L6-v2."
        ) from error


def _open(name: str, *, local_files_only: bool = False) -> CrossEncoder:
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model: CrossEncoder = CrossEncoder(name, local_files_only=local_files_only)
    return model
