"""Arguments of transformers' trainer: schedules, steps, devices."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mbert_retrieval import InputError
from mbert_retrieval.training.recipe import RunOptions
from mbert_retrieval.training.run_folder import RunFolder
from mbert_retrieval.training.trainer import (
    check_devices,
    log_callback,
    total_steps,
    trainer_arguments,
)


@pytest.mark.parametrize(
    ("steps", "warmup", "decay"), [(100, 0.1, 0.3), (40, 0.05, 0.1), (10, 0.0, 0.5)]
)
def test_the_trapezoid_decays_by_one_minus_sqrt(steps, warmup, decay):
    """Against the formula of Hägele et al. 2024."""
    from transformers import get_scheduler

    run = RunOptions(output="x", steps=steps, warmup=warmup, decay=decay, schedule="trapezoid")
    arguments = trainer_arguments(run, 10**6)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    warm = int(np.ceil(steps * warmup))
    scheduler = get_scheduler(
        arguments["lr_scheduler_type"],
        optimizer,
        warm,
        steps,
        arguments["lr_scheduler_kwargs"],
    )
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    flat_end = steps - round(steps * decay)
    for step, rate in enumerate(rates):
        if step < warm:
            expected = step / warm
        elif step < flat_end:
            expected = 1.0
        else:
            expected = 1 - np.sqrt((step - flat_end) / (steps - flat_end))
        assert rate == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "batch", "accumulate", "epochs", "expected"),
    [(100, 16, 1, 1.0, 7), (100, 10, 4, 2.0, 6), (5, 16, 1, 0.5, 1), (100, 10, 1, 0.5, 5)],
)
def test_steps_of_epochs(rows, batch, accumulate, epochs, expected):
    run = RunOptions(batch=batch, accumulate=accumulate, epochs=epochs)
    assert total_steps(run, rows) == expected


def test_several_gpus_in_one_process_are_refused():
    with pytest.raises(InputError, match="start with torchrun --nproc-per-node 4"):
        check_devices(4)


def test_one_gpu_is_fine():
    check_devices(1)


def test_steps_are_divided_among_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert total_steps(RunOptions(batch=10), 100) == 3


def test_steps_override_epochs():
    assert total_steps(RunOptions(steps=7, epochs=3.0), 100) == 7


# the transformers name of each option, and a value that is not its default
OPTIONS = [
    ("batch", "per_device_train_batch_size", 3),
    ("accumulate", "gradient_accumulation_steps", 4),
    ("epochs", "num_train_epochs", 2.5),
    ("steps", "max_steps", 9),
    ("learning_rate", "learning_rate", 3e-4),
    ("warmup", "warmup_steps", 0.25),
    ("weight_decay", "weight_decay", 0.5),
    ("max_grad_norm", "max_grad_norm", 0.7),
    ("seed", "seed", 11),
    ("seed", "data_seed", 11),
    ("save_every", "save_steps", 13),
    ("keep", "save_total_limit", 5),
    ("log_every", "logging_steps", 6),
    ("workers", "dataloader_num_workers", 2),
]


@pytest.mark.parametrize(("option", "name", "value"), OPTIONS)
def test_options_reach_the_trainer(option, name, value):
    assert trainer_arguments(RunOptions(**{option: value}), 100)[name] == value


def process(rank):
    return SimpleNamespace(is_world_process_zero=rank == 0, global_step=3, max_steps=9)


def test_entries_are_logged_and_reported(tmp_path):
    reported = []
    log = log_callback(RunFolder(tmp_path), lambda *entry: reported.append(entry))
    log.on_log(None, process(0), None, {"loss": 0.5})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 3, "loss": 0.5}
    assert reported == [(3, 9, {"loss": 0.5})]


def test_only_the_first_process_logs(tmp_path):
    log_callback(RunFolder(tmp_path), None).on_log(None, process(1), None, {"loss": 0.5})
    assert not (tmp_path / "log.jsonl").exists()
