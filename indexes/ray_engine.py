"""The passages of a large corpus → vectors, by an encoder on each worker of a Ray cluster. Only this imports Ray."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexes.corpus import Corpus
from indexes.encoders.torch import Precision, precision_of
from indexes.errors import EncoderMismatchError, InputError, StoreError
from indexes.types import Encoder, Passage, Vectors

_BATCH = 128
# Passages that travel at once: what the cluster's object store has to hold. Workers load their encoder anew for each.
_WINDOW = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """Embeds on the Ray cluster at RAY_ADDRESS, or on one of this machine if none is named.

    Each of `n_workers` (by default one for each GPU, or else each core of the cluster) holds an encoder that `load`
    gives; DATA_DIR's own encoders have to be reachable from there. Vectors come back as they are made, so that what is
    written stays when the rest fails, and is not embedded again.
    """

    load: Callable[[Precision], Encoder]  # of a worker; it has to be picklable, with everything it refers to
    n_workers: int | None = None

    def __call__(
        self, corpus: Corpus, ids: Sequence[str], encoder: Encoder
    ) -> Iterator[tuple[Sequence[Passage], Vectors]]:
        """Passages with their unit vectors (N, D), in any order, until each of `ids` was given."""
        if not ids:
            return
        ray = _import_ray()
        is_ours = not ray.is_initialized()
        if is_ours:
            ray.init(log_to_driver=False, include_dashboard=False)
        try:
            for first in range(0, len(ids), _WINDOW):
                yield from self._embed(corpus, ids[first : first + _WINDOW], encoder)
        finally:
            if is_ours:
                ray.shutdown()

    def _embed(
        self, corpus: Corpus, ids: Sequence[str], encoder: Encoder
    ) -> Iterator[tuple[Sequence[Passage], Vectors]]:
        batches = iter(self._dataset(corpus, ids, encoder).iter_batches(batch_size=None, batch_format="numpy"))
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                raise StoreError(
                    f"Embedding on the Ray cluster failed: {_last_line(error)} What is embedded stays; the same "
                    "command goes on from there."
                ) from error
            if batch is None:
                return
            known = {passage.id: passage for passage in corpus.get_passages(batch["id"].tolist())}
            rows = [(known[i], vector) for i, vector in zip(batch["id"], batch["vector"], strict=True) if i in known]
            yield [passage for passage, _ in rows], np.array([vector for _, vector in rows], dtype=np.float32)

    def _dataset(self, corpus: Corpus, ids: Sequence[str], encoder: Encoder) -> Any:
        import pyarrow as pa
        import ray

        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        blocks = []
        for first in range(0, len(ids), _BATCH):
            passages = corpus.get_passages(list(ids[first : first + _BATCH]))
            texts = [passage.full_text for passage in passages]
            blocks.append(pa.table({"id": [passage.id for passage in passages], "text": texts}))
        n_gpus = int(ray.cluster_resources().get("GPU", 0))
        n_workers = self.n_workers or n_gpus or max(1, int(ray.cluster_resources().get("CPU", 1)))
        return ray.data.from_arrow(blocks).map_batches(
            _Worker,
            fn_constructor_args=(self.load, encoder.fingerprint),
            batch_size=_BATCH,
            compute=ray.data.ActorPoolStrategy(size=min(n_workers, len(blocks))),
            **({"num_gpus": 1} if n_gpus else {"num_cpus": 1}),
        )


class _Worker:
    """One encoder, kept as long as there is work."""

    def __init__(self, load: Callable[[Precision], Encoder], fingerprint: str) -> None:
        self._encoder = load(precision_of(fingerprint))
        if self._encoder.fingerprint != fingerprint:
            raise EncoderMismatchError(
                f"A worker was to embed by the encoder with fingerprint {fingerprint}, but '{self._encoder.name}' has "
                f"{self._encoder.fingerprint} there. Give every machine of the cluster the same encoder."
            )

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": batch["id"], "vector": self._encoder.encode_passages(batch["text"].tolist())}


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            "Embedding on a cluster needs the package ray, which is not installed. Install the extra 'ray' of this "
            "project, or leave --engine out."
        ) from error
    return ray


def _last_line(error: Exception) -> str:
    """What went wrong, without the stacks of the machines it went through."""
    line = (str(error).strip() or type(error).__name__).splitlines()[-1][:300]
    return line if line.endswith(".") else f"{line}."
