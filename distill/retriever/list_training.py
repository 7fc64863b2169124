"""The training loop of stage 2: its batches, what it measures on held-out lists, when it stops, what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.losses.gradcache import has_static_embedding_input
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distill.retriever.list_batches import ListBatches, ListCollator, dataset_of
from distill.retriever.list_losses import ListTargets
from distill.retriever.settings import RetrieverConfig, RetrieverReport, Training
from distill.retriever.training_lists import TrainingList, lists_in_a_step
from distill.training import ProgressCallback, quiet_trainer, train_with_smaller_batches, trainer_options


class ListTrainer(SentenceTransformerTrainer):
    """Trains on `ListBatches`; held-out lists are taken as they come."""

    def __init__(self, *, lists_in_a_step: int, lengths: Sequence[int] = (), **options: Any) -> None:
        self._lists_in_a_step = lists_in_a_step
        self._lengths = lengths
        super().__init__(**options)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Adds none: the library's card would quote held-out questions, which are the user's private texts."""

    def get_batch_sampler(self, dataset: Any, batch_size: int, *args: Any, **options: Any) -> DefaultBatchSampler:
        """The batches of `dataset`, which is the training set or the held-out lists."""
        n_lists = len(dataset)
        if dataset is not self.train_dataset:
            return DefaultBatchSampler(SequentialSampler(dataset), batch_size=batch_size, drop_last=False)
        return ListBatches(
            n_lists,
            batch_size=batch_size,
            lists_in_a_step=self._lists_in_a_step,
            seed=self.args.seed,
            lengths=self._lengths,
        )


class StopWhenNothingImproves(TrainerCallback):
    """Ends training when the last `patience` evaluations were no better than one before them.

    It reads the log that each checkpoint holds and has no state of its own, so a resumed training stops where the
    uninterrupted one would.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks at the held-out divergences so far; that of the untrained model does not count."""
        found = list(held_out_losses(state).values())[1:]
        if found and len(found) - 1 - found.index(min(found)) >= self._patience:
            control.should_training_stop = True


def held_out_losses(state: TrainerState) -> Mapping[int, float]:
    """The divergence on held-out lists by step, in order; step 0 is before training."""
    by_step = {int(entry["step"]): float(entry["eval_loss"]) for entry in state.log_history if "eval_loss" in entry}
    return dict(sorted(by_step.items()))


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
    held_out: Sequence[TrainingList],
    make_loss: Callable[[int, bool], nn.Module],
    training: Training,
    *,
    collator: ListCollator | None = None,
    lengths: Sequence[int] = (),
) -> RetrieverReport:
    """What training did; `model` ends at the evaluation with the least divergence on `held_out`, which is its start if
    no step was better. `make_loss(mini-batch size, whether gradients are cached)` numbers train, then held-out lists.

    The divergence decides, not nDCG: it is what is trained, it looks at the whole list or corpus, and it is smooth,
    where the nDCG of a hundred lists moves by less between epochs than by which hundred they are.
    """
    config = training.config
    model.model_card_data.generate_widget_examples = False  # they would be computed, and never shown
    start = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    n_processes = _arguments(model, training, per_device_train_batch_size=1).world_size
    size = lists_in_a_step(len(train), config.batch_size, n_processes)
    trainers: list[ListTrainer] = []

    def make_trainer(n_lists: int, _: int) -> ListTrainer:
        batch, n_batches, cached = _share(size // n_processes, n_lists, config)
        arguments = _arguments(
            model,
            training,
            per_device_train_batch_size=batch,
            per_device_eval_batch_size=n_lists,
            gradient_accumulation_steps=n_batches,
            **_evaluations(len(train) // size, config.evaluations_an_epoch),
        )
        trainer = ListTrainer(
            lists_in_a_step=size,
            lengths=lengths,
            model=model,
            args=arguments,
            train_dataset=dataset_of(train, 0),
            eval_dataset=dataset_of(held_out, len(train)),
            loss=make_loss(min(config.passages_at_once, n_lists * config.n_passages), cached),
            data_collator=collator,
            callbacks=[ProgressCallback(training.on_progress), StopWhenNothingImproves(config.patience)],
        )
        trainers[:] = [quiet_trainer(trainer)]
        return trainers[0]

    notes = train_with_smaller_batches(make_trainer, batch_size=size // n_processes, checkpoints=training.checkpoints)
    before, *after = held_out_losses(trainers[0].state).items()
    best_step, best = min(after, key=lambda item: item[1])
    if not best < before[1]:
        model.load_state_dict(start)
        best_step, best = before
        notes = (*notes, "No step of the training came nearer to the teacher on held-out questions; nothing changed.")
    model.eval()
    return RetrieverReport(
        n_train=len(train),
        n_held_out=len(held_out),
        lists_in_a_step=size,
        best_step=best_step,
        divergence_before=before[1],
        divergence_after=best,
        notes=notes,
    )


def _share(n_lists: int, n_fitting: int, config: RetrieverConfig) -> tuple[int, int, bool]:
    """(lists in a batch, batches in a step, whether gradients are cached) so that a process's `n_lists` of a step are
    embedded `n_fitting` at a time: in batches, or, where the lists need each other, in one whose gradients are cached.
    """
    batch = max(size for size in range(1, n_fitting + 1) if n_lists % size == 0)
    if config.in_batch_negatives and config.train != "query":
        return n_lists, 1, config.cached_gradients or batch < n_lists
    return batch, n_lists // batch, config.cached_gradients


def _evaluations(n_steps: int, an_epoch: int) -> dict[str, Any]:
    """Options for so many evaluations, each with a checkpoint, in an epoch of `n_steps`."""
    if an_epoch == 1:
        return {}
    every = max(1, round(n_steps / an_epoch))
    return {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": every, "save_steps": every}


def _arguments(model: SentenceTransformer, training: Training, **sizes: Any) -> SentenceTransformerTrainingArguments:
    config, device = training.config, model.device.type
    is_static = has_static_embedding_input(model)
    options = trainer_options(training.checkpoints, seed=training.seed, device=device, report_to=training.report_to)
    if not config.half_precision:
        options |= {"bf16": False, "fp16": False}
    arguments = SentenceTransformerTrainingArguments(
        num_train_epochs=config.n_epochs,
        learning_rate=config.static_learning_rate if is_static else config.learning_rate,
        weight_decay=0.01,
        eval_on_start=True,
        dataloader_drop_last=True,  # the batches come whole; several processes would set it, and say so
        **question_options(model),
        **(options | sizes),
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several GPUs are for several processes, each with its own batches
    return arguments


def list_targets(
    train: Sequence[TrainingList],
    held_out: Sequence[TrainingList],
    numbers: Mapping[str, int],
    config: RetrieverConfig,
) -> ListTargets:
    """The teacher's side of the lists that train, then of those held out; `numbers` are those of the passages."""
    return ListTargets(
        (*train, *held_out),
        numbers,
        n_train=len(train),
        student_temperature=config.student_temperature,
        teacher_temperature=config.teacher_temperature,
        objective=config.objective,
    )
