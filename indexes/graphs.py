"""An encoder's graph at work: tokens in, unit vectors out, by onnxruntime and without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexes.types import Vectors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"


class Graph:
    """One side of an encoder.

    Only texts of the very same number of tokens share a batch, so nothing is padded. A graph in int8 takes one text at
    a time: it scales its numbers by the largest of a batch, and a text's vector must not depend on its neighbours.
    """

    def __init__(self, session: InferenceSession, tokenizer: Any, *, at_once: int, n_threads: int) -> None:
        self._session = session
        self._inputs = [each.name for each in session.get_inputs()]
        self.tokenizer = tokenizer
        self._at_once = at_once
        # As many texts at a time as there are cores is faster than one text on all of them.
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="encoder")

    @classmethod
    def open(cls, folder: Path, *, at_once: int = 1, n_threads: int = 0) -> Graph:
        """The graph in `folder`, on `n_threads` (all cores at 0)."""
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        return cls(session, tokenizer, at_once=at_once, n_threads=n_threads or _n_cores())

    def encode(self, texts: Sequence[str], prompt: str = "") -> Vectors:
        """Unit vectors of one text or more, shape (N, D)."""
        encodings = self.tokenizer.encode_batch([prompt + text for text in texts] if prompt else list(texts))
        batches = self._batches([len(each) for each in encodings])
        inputs = [[encodings[place] for place in places] for places in batches]
        # A question does not wait for another thread to wake up.
        found = np.concatenate(list(self._pool.map(self._run, inputs) if len(inputs) > 1 else map(self._run, inputs)))
        vectors = np.empty_like(found)
        vectors[[place for places in batches for place in places]] = found
        return vectors

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        """Places of texts with the same number of tokens, a few each, the longest first: no core waits for the last."""
        order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
        alike = (list(places) for _, places in groupby(order, key=lambda place: lengths[place]))
        return [places[n : n + self._at_once] for places in alike for n in range(0, len(places), self._at_once)]

    def _run(self, encodings: Sequence[Any]) -> Vectors:
        fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        feed = {
            name: np.array([getattr(each, fields[name]) for each in encodings], dtype=np.int64) for name in self._inputs
        }
        return np.asarray(self._session.run(None, feed)[0], dtype=np.float32)


def _n_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
