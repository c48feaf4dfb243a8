"""What fine-tuning and pretraining share: arguments of transformers' Trainer, log, processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .recipe import RunOptions
from .run_folder import RunFolder

if TYPE_CHECKING:
    from transformers import TrainerCallback

Report = Callable[[int, int, dict[str, float]], None]
"""Called with the step, the number of all steps, and the log entry (loss, learning rate, ...)."""

SCHEDULE_NAMES = {"trapezoid": "warmup_stable_decay", "constant": "constant_with_warmup"}
OPTIMIZER_NAMES = {"adamw": "adamw_torch", "stable-adamw": "stable_adamw"}


def trainer_arguments(run: RunOptions, rows: int) -> dict[str, Any]:
    """Return the keyword arguments of transformers' TrainingArguments for a run on `rows` rows."""
    import torch

    cuda = torch.cuda.is_available()
    arguments: dict[str, Any] = {
        "output_dir": run.output,
        "per_device_train_batch_size": run.batch,
        "gradient_accumulation_steps": run.accumulate,
        "num_train_epochs": run.epochs,
        "max_steps": run.steps or -1,
        "learning_rate": run.learning_rate,
        "warmup_steps": run.warmup,
        "lr_scheduler_type": SCHEDULE_NAMES.get(run.schedule, run.schedule),
        "optim": OPTIMIZER_NAMES[run.optimizer],
        "weight_decay": run.weight_decay,
        "max_grad_norm": run.max_grad_norm,
        "bf16": run.precision == "bf16" or (run.precision == "auto" and cuda),
        "use_cpu": not cuda,
        "seed": run.seed,
        "data_seed": run.seed,
        "save_strategy": "steps",
        "save_steps": run.save_every,
        "save_total_limit": run.keep,
        "logging_steps": run.log_every,
        "dataloader_num_workers": run.workers,
        "report_to": list(run.report_to) or "none",
        "disable_tqdm": True,
    }
    if run.schedule == "trapezoid":
        decay_steps = round(total_steps(run, rows) * run.decay)
        arguments["lr_scheduler_kwargs"] = {"num_decay_steps": decay_steps, "decay_type": "1-sqrt"}
    return arguments


def total_steps(run: RunOptions, rows: int) -> int:
    """Return the number of optimiser steps of a run on `rows` rows, all processes together."""
    if run.steps is not None:
        return run.steps
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    batches = -(-rows // (run.batch * processes))
    return max(1, round(-(-batches // run.accumulate) * run.epochs))


def log_callback(folder: RunFolder, report: Report | None) -> TrainerCallback:
    """Return a callback that appends every log entry to log.jsonl and passes it to `report`."""
    from transformers import TrainerCallback

    class Log(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not state.is_world_process_zero or not logs:
                return
            folder.append_log({"step": state.global_step} | logs)
            if report is not None:
                report(state.global_step, state.max_steps, logs)

    return Log()


def check_devices(gpus: int) -> None:
    """Raise InputError if one process uses several GPUs: a flat batch cannot be split."""
    if gpus > 1:
        raise InputError(
            f"{gpus} GPUs are visible to one process: start with torchrun --nproc-per-node "
            f"{gpus} -m mbert_retrieval.cli.train, or select one with CUDA_VISIBLE_DEVICES"
        )


def leave_process_group() -> bool:
    """Wait for the other processes of a run, leave their group, and return whether this is rank 0.

    A process that exits without leaving may abort.
    """
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return True
    first = distributed.get_rank() == 0
    distributed.barrier()
    distributed.destroy_process_group()
    return first
