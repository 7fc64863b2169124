"""The training loop of stage 2: lists in batches, the same steps for any number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import nn

from distill.records import RetrieverReport
from distill.retriever.lists import RetrieverConfig, Training, TrainingList, lists_in_a_step
from distill.trainer import ProgressCallback, quiet_trainer, train_with_smaller_batches, trainer_options

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


class ListTrainer(SentenceTransformerTrainer):
    """Trains on `ListBatches`."""

    def __init__(self, *, lists_in_a_step: int, lengths: Sequence[int] = (), **options: Any) -> None:
        self._lists_in_a_step = lists_in_a_step
        self._lengths = lengths
        super().__init__(**options)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Adds none: the library's card would quote held-out questions, which are the user's private texts."""

    def get_batch_sampler(self, dataset: Any, batch_size: int, *args: Any, **options: Any) -> DefaultBatchSampler:
        """The batches of `dataset`."""
        return ListBatches(
            len(dataset),
            batch_size=batch_size,
            lists_in_a_step=self._lists_in_a_step,
            seed=self.args.seed,
            lengths=self._lengths,
        )


def prompt_for(model: SentenceTransformer, names: Sequence[str]) -> str | None:
    """The text that `encode_query` or `encode_document` puts before each input, whose prompt has one of `names`."""
    name = next((name for name in names if name in model.prompts), model.default_prompt_name)
    return model.prompts[name] if name else None


def question_options(model: SentenceTransformer) -> dict[str, Any]:
    """How the question column is preprocessed: as `encode_query` does."""
    prompt = prompt_for(model, ("query",))
    return {"router_mapping": {"question": "query"}, "prompts": {"question": prompt} if prompt else {}}


def fit(
    model: SentenceTransformer,
    train: Sequence[TrainingList],
    make_loss: Callable[[int], nn.Module],
    training: Training,
    *,
    collator: ListCollator | None = None,
    lengths: Sequence[int] = (),
) -> RetrieverReport:
    """What training `model` in place on all lists of `train` did; `make_loss(passages in a forward pass)`."""
    config = training.config
    model.model_card_data.generate_widget_examples = False  # they would be computed, and never shown
    n_processes = _arguments(model, training, per_device_train_batch_size=1).world_size
    size = lists_in_a_step(len(train), config.batch_size, n_processes)
    trainers: list[ListTrainer] = []

    def make_trainer(n_fitting: int, _: int) -> ListTrainer:
        batch, n_batches = _share(size // n_processes, n_fitting, config)
        sizes: dict[str, Any] = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": n_batches}
        arguments = _arguments(model, training, **sizes)
        if _keeps_too_much(model, batch, n_fitting, config, is_half=arguments.bf16 or arguments.fp16):
            arguments.activation_checkpointing = True
        trainer = ListTrainer(
            lists_in_a_step=size,
            lengths=lengths,
            model=model,
            args=arguments,
            train_dataset=dataset_of(train),
            loss=make_loss(min(config.passages_at_once, n_fitting * config.n_passages)),
            data_collator=collator,
            callbacks=[ProgressCallback(training.on_progress)],
        )
        trainers[:] = [quiet_trainer(trainer)]
        return trainers[0]

    notes = train_with_smaller_batches(make_trainer, batch_size=size // n_processes, checkpoints=training.checkpoints)
    losses = _loss_of_each_step(trainers[0].state.log_history) or [math.nan]
    tenth = max(1, len(losses) // 10)
    model.eval()
    return RetrieverReport(
        train=config.train,
        n_train=len(train),
        lists_in_a_step=size,
        n_steps=trainers[0].state.global_step,
        loss_at_first=fmean(losses[:tenth]),
        loss_at_last=fmean(losses[-tenth:]),
        notes=notes,
    )


def _loss_of_each_step(logged: Sequence[Mapping[str, Any]]) -> list[float]:
    """As far as it is known: of the steps from one look at the loss to the next their mean. One that is no number,
    after which training stopped, is left out.
    """
    found: list[float] = []
    looked = 0
    for entry in logged:
        if math.isfinite(entry.get("loss", math.nan)):
            found += [entry["loss"]] * (entry["step"] - looked)
            looked = entry["step"]
    return found


def _share(n_lists: int, n_fitting: int, config: RetrieverConfig) -> tuple[int, int]:
    """(lists in a batch, batches in a step) so that a process's `n_lists` of a step are embedded `n_fitting` at a time;
    where the lists need each other, they are one batch whose activations are not kept (see `_keeps_too_much`).
    """
    if config.in_batch_negatives and config.train == "both":
        return n_lists, 1
    batch = max(size for size in range(1, n_fitting + 1) if n_lists % size == 0)
    return batch, n_lists // batch


def _keeps_too_much(
    model: SentenceTransformer, n_lists: int, n_fitting: int, config: RetrieverConfig, *, is_half: bool
) -> bool:
    """Whether the activations of a batch are to be computed again instead of kept: they took too much memory before, or
    would take more than `most_activations_mb` (34 · hidden + 5 · heads · tokens bytes for each token and layer in 16
    bits, twice that in 32: Korthikanti et al., arXiv 2205.05198).
    """
    transformer = getattr(model, "transformers_model", None)
    shape = getattr(transformer, "config", None)
    if shape is None or not getattr(transformer, "supports_gradient_checkpointing", False):
        return False
    n_texts = n_lists * (1 + (config.n_passages if config.train == "both" else 0))
    sizes = [getattr(shape, name, 0) for name in ("num_hidden_layers", "hidden_size", "num_attention_heads")]
    layers, hidden, heads = sizes
    a_token = layers * (34 * hidden + 5 * heads * config.max_tokens) * (1 if is_half else 2)
    return n_fitting < n_lists or n_texts * config.max_tokens * a_token > config.most_activations_mb * 1e6


class _OneGPU(SentenceTransformerTrainingArguments):
    """Several GPUs are for several processes, each with its own batches."""

    @property
    def n_gpu(self) -> int:
        return min(1, int(super().n_gpu))


def _arguments(model: SentenceTransformer, training: Training, **sizes: Any) -> SentenceTransformerTrainingArguments:
    config, device = training.config, model.device.type
    is_static = any(isinstance(module, StaticEmbedding) for module in model.modules())
    options = trainer_options(training.checkpoints, seed=training.seed, device=device, report_to=training.report_to)
    if not config.half_precision:
        options |= {"bf16": False, "fp16": False}
    return _OneGPU(
        num_train_epochs=config.n_epochs,
        learning_rate=config.static_learning_rate if is_static else config.learning_rate,
        weight_decay=0.01,
        dataloader_drop_last=True,  # the batches come whole; several processes would set it, and say so
        **question_options(model),
        **(options | sizes),
    )
