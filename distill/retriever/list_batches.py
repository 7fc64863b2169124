"""Lists in batches: the same steps for any number of processes, each distinct passage of a batch once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from distill.retriever.training_lists import TrainingList

_STEPS_IN_A_BLOCK = 8  # whose lists are sorted by length; the blocks and the steps are in random order


def dataset_of(lists: Sequence[TrainingList]) -> Dataset:
    """Columns question and label, the list's number."""
    return Dataset.from_dict({"question": [each.question for each in lists], "label": list(range(len(lists)))})


class ListBatches(DefaultBatchSampler):
    """Numbers of lists in batches: an epoch is a random order cut into steps of `lists_in_a_step`, what remains is left
    out, and a step is cut into batches, so the steps are the same however many processes or batches share one.

    With `lengths` the lists of eight steps are sorted by length first, so that a step needs little padding.
    """

    def __init__(self, n_lists: int, *, batch_size: int, lists_in_a_step: int, seed: int, lengths: Sequence[int]):
        super().__init__(range(n_lists), batch_size=batch_size, drop_last=False, seed=seed)
        self._n_lists = n_lists
        self._step = lists_in_a_step
        self._lengths = torch.tensor(lengths)

    def __len__(self) -> int:
        return self._n_lists // self._step * (self._step // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self._n_lists, generator=generator)
        order = order[: self._n_lists // self._step * self._step]
        blocks = torch.split(order, _STEPS_IN_A_BLOCK * self._step)
        steps = [step for block in blocks for step in torch.split(self._sorted(block), self._step)]
        for place in torch.randperm(len(steps), generator=generator).tolist():
            yield from (batch.tolist() for batch in torch.split(steps[place], self.batch_size))

    def _sorted(self, block: torch.Tensor) -> torch.Tensor:
        return block[torch.argsort(self._lengths[block], stable=True)] if len(self._lengths) else block


@dataclass
class ListCollator(SentenceTransformerDataCollator):
    """A batch's questions and the distinct passages of its lists, shortest first, with their numbers in passage_rows.

    `rows` are each list's passage numbers, `texts` the passages by number.
    """

    rows: Sequence[Sequence[int]] = field(default_factory=list, repr=False)
    texts: Sequence[str] = field(default_factory=list, repr=False)
    passage_prompt: str | None = None
    passage_tokens: int | None = None

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().__call__(features)
        numbers = {number for feature in features for number in self.rows[feature["label"]]}
        ordered = sorted(numbers, key=lambda number: (len(self.texts[number]), number))
        limit = {} if self.passage_tokens is None else {"max_length": self.passage_tokens}
        passages = self.preprocess_fn(
            [self.texts[number] for number in ordered], prompt=self.passage_prompt, task="document", **limit
        )
        return (
            batch
            | {f"passage_{key}": value for key, value in passages.items()}
            | {"passage_task": "document", "passage_rows": torch.tensor(ordered)}
        )
