"""What the training of ranker and retriever share: arguments, progress, resuming."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distill.ranker import uses_bf16
from indexes.errors import UserError

OnProgress = Callable[[int, int], None]


def trainer_options(folder: Path, *, seed: int, device: str) -> dict[str, Any]:
    """Arguments that both trainers take: one checkpoint an epoch, the best by held-out loss kept, nothing reported."""
    return {
        "output_dir": str(folder),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": device == "cpu",
        "bf16": uses_bf16(device),
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "logging_strategy": "epoch",
        "warmup_steps": 0.1,
        "lr_scheduler_type": "linear",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": device != "cpu",
    }


class ProgressCallback(TrainerCallback):
    """Tells the caller after each step, and stops when the loss is no number any more."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Reports the step."""
        self._on_progress(state.global_step, state.max_steps)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Looks at the loss that was logged."""
        loss = (kwargs.get("logs") or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise UserError(
                f"The training loss became {loss} at step {state.global_step}, so training stopped; the last good "
                f"checkpoint is in {args.output_dir}. Lower the learning rate and run again."
            )


def quiet_trainer(trainer: Any) -> Any:
    """`trainer` without the callback that prints a dictionary at each log."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint in `folder`, None if there is none: where a killed training goes on."""
    whole = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    newest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    return str(newest) if newest else None


def split_for_early_stopping(n: int) -> tuple[int, int]:
    """How many of `n` lists train and how many decide when to stop: a sixth, at least one; the two add up to `n`."""
    n_eval = max(1, n // 6) if n > 1 else 0
    return n - n_eval, n_eval
