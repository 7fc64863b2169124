"""What the training of ranker and retriever share: arguments, progress, resuming, memory, a loss that is no number."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distill.json_files import appending
from indexes.encoders.torch import uses_bf16
from indexes.errors import InputError, UserError, is_out_of_memory

OnProgress = Callable[[int, int], None]
MakeTrainer = Callable[[int, int], Any]  # (lists in a batch, batches in a step) → a new trainer of the same model

_STEPS_BETWEEN_LOOKS_AT_THE_LOSS = 10


class DivergedError(UserError):
    """The training loss became NaN or infinite and no checkpoint from before is there."""


class MemoryExhaustedError(UserError):
    """Not even a single list fits into memory."""


def trainer_options(
    folder: Path,
    *,
    seed: int,
    device: str,
    report_to: str = "none",
) -> dict[str, Any]:
    """Arguments that all trainers take: one checkpoint an epoch, and no evaluation between.

    `report_to` is "none" or a tracker that transformers knows, such as "tensorboard" or "trackio"; `InputError` if its
    package is not there.
    """
    if report_to != "none" and find_spec(report_to) is None:
        raise InputError(
            f"Reporting to '{report_to}' takes the package of this name, which is not installed: "
            f"pip install {report_to}"
        )
    bf16 = uses_bf16(device)
    return {
        "output_dir": str(folder),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": device == "cpu",
        "bf16": bf16,
        "fp16": device == "cuda" and not bf16,
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "logging_strategy": "steps",
        "logging_steps": _STEPS_BETWEEN_LOOKS_AT_THE_LOSS,
        "logging_nan_inf_filter": False,  # the filter would hide a loss that is no number behind the mean of the others
        "warmup_steps": 0.1,
        "lr_scheduler_type": "linear",
        "report_to": report_to,
        "disable_tqdm": True,
        "dataloader_pin_memory": device != "cpu",
    }


LOSSES_FILE = "losses.jsonl"  # beside the checkpoints: what was logged, so that curves can be drawn while it trains


class ProgressCallback(TrainerCallback):
    """Tells the caller after each step, writes the losses down, and stops when one is no number any more.

    The loss is looked at before an epoch's checkpoint is written too, so no checkpoint holds weights of such a loss.
    """

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Reports the step."""
        self._on_progress(state.global_step, state.max_steps)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Has the loss since the last look logged."""
        control.should_log = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks at the loss and writes it down; a training that is resumed repeats steps, and the later line counts."""
        loss = (kwargs.get("logs") or {}).get("loss")
        if not isinstance(loss, float):
            return
        if not math.isfinite(loss):
            raise _NotANumberError(f"loss became {loss} at step {state.global_step} of {state.max_steps}")
        if state.is_world_process_zero:
            with appending(Path(str(args.output_dir)) / LOSSES_FILE) as append:
                append({"step": state.global_step, "steps": state.max_steps, "loss": loss})


class _NotANumberError(Exception):
    """Raised out of the training loop by `ProgressCallback`, caught by `train_with_smaller_batches`."""


def train_with_smaller_batches(make_trainer: MakeTrainer, *, batch_size: int, checkpoints: Path) -> tuple[str, ...]:
    """Trains to the end, and returns sentences on what had to be done for it (none if nothing); the model is trained
    in place.

    `make_trainer(lists in a batch, batches in a step)` makes a new trainer, with a `ProgressCallback`, of the *same*
    model each time; hand the two numbers to `per_device_train_batch_size` and `gradient_accumulation_steps`. It starts
    at (`batch_size`, 1).

    - A killed training goes on from the last whole checkpoint in `checkpoints`.
    - Out of memory: the batch is halved and the batches in a step are doubled, so a step still sees as many lists and
      the order of the lists stays; the attempt begins at the last checkpoint, or at the weights as they came.
      `MemoryExhaustedError` when a batch of one does not fit. Only in a single process: several could not agree.
    - A loss that is no number: the model goes back to the last checkpoint, and that is the end. `DivergedError` if
      there is none; the model then has the weights as they came.
    """
    from accelerate.utils.memory import clear_device_cache  # type: ignore[import-untyped]

    notes: list[str] = []
    start: dict[str, Any] | None = None
    n_batches = 1
    while True:
        trainer = make_trainer(batch_size, n_batches)
        start = start or {name: tensor.detach().cpu().clone() for name, tensor in trainer.model.state_dict().items()}
        try:
            trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
            return tuple(notes)
        except _NotANumberError as error:
            return (*notes, _back_to_good_weights(trainer, checkpoints, start, str(error)))
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error) or trainer.args.world_size > 1:
                raise
            if batch_size == 1:
                raise MemoryExhaustedError(
                    "Training ran out of memory with a single question and its candidates in a batch. "
                    "Take fewer candidates for each question, or a smaller base model."
                ) from error
        # Outside of the except block, whose traceback would keep the tensors of the failed step alive.
        trainer.model.load_state_dict(start)
        del trainer
        clear_device_cache(garbage_collection=True)
        notes.append(
            f"Training ran out of memory with {batch_size} questions in a batch and went on with {batch_size // 2}."
        )
        batch_size, n_batches = batch_size // 2, n_batches * 2


def _back_to_good_weights(trainer: Any, checkpoints: Path, start: dict[str, Any], what: str) -> str:
    """Puts the weights of the newest checkpoint into the trainer's model, and says so."""
    good = last_checkpoint(checkpoints)
    if good is None:
        trainer.model.load_state_dict(start)
        raise DivergedError(
            f"Training stopped: {what}, before any epoch was complete. Lower the learning rate and run again."
        )
    trainer.model.load_state_dict(type(trainer.model)(good, device="cpu").state_dict())
    return f"Training stopped early: {what}. The last good checkpoint ({Path(good).name}) was kept."


def _is_out_of_memory(error: BaseException) -> bool:
    from accelerate.utils.memory import should_reduce_batch_size

    return is_out_of_memory(error) or bool(isinstance(error, Exception) and should_reduce_batch_size(error))


def quiet_trainer(trainer: Any) -> Any:
    """`trainer` without the callback that prints a dictionary at each log."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint in `folder`, None if there is none: where a killed training goes on."""
    whole = [path for path in folder.glob("checkpoint-*") if _is_whole(path)]
    newest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    return str(newest) if newest else None


def drop_checkpoints(folder: Path) -> None:
    """Deletes all checkpoints under `folder`, hundreds of megabytes each; the losses beside them stay."""
    for checkpoint in folder.rglob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)  # of several processes another one may be faster


def _is_whole(checkpoint: Path) -> bool:
    """Whether the file that is written last is there and can be read."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def split_held_out(n: int) -> tuple[int, int]:
    """How many of `n` lists train and how many are held out: a sixth, at least one; the two add up to `n`."""
    n_held_out = max(1, n // 6) if n > 1 else 0
    return n - n_held_out, n_held_out
