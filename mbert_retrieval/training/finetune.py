"""A training run of a retriever, from its recipe to the folder of the trained encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .dataset import ROWS, build_dataset
from .losses import build_loss
from .recipe import EvaluationOptions, Recipe, RunOptions, to_toml
from .run_folder import last_checkpoint, record_recipe

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from transformers import TrainerCallback

Report = Callable[[int, int, dict[str, float]], None]
"""Called with step, all steps and what was logged: loss, learning rate, measures."""

MODEL = "model"  # the trained encoder, in the run's folder


def train(recipe: Recipe, report: Report | None = None) -> Path:
    """Train an encoder, and give the folder that `load_encoder` and sentence-transformers load.

    The run's folder keeps recipe.toml, checkpoints and log.jsonl. Called again after an
    interruption it goes on from the last whole checkpoint, and ends with the same weights.
    Raises InputError for data, options or a base that do not fit, and for a folder that holds a
    run of another recipe.
    """
    from transformers import set_seed

    from .initial_encoder import start_encoder
    from .lora import Lora, merge_lora
    from .packed_module import sentence_transformer

    run = recipe.training
    output = Path(run.output)
    record_recipe(output, to_toml(recipe))
    set_seed(run.seed)
    encoder = start_encoder(recipe.kind, recipe.model)
    dataset = build_dataset(recipe, output)
    rank, alpha = recipe.model.lora_rank, recipe.model.lora_alpha
    lora = Lora(rank, alpha or 2.0 * rank) if rank else None
    model = sentence_transformer(encoder, lora)
    encoder.backbone.gradient_checkpointing = recipe.model.gradient_checkpointing
    evaluator = build_evaluator(recipe.kind, recipe.evaluation)
    trainer = _trainer(recipe, model, dataset, evaluator, log_callback(output, report))
    result = trainer.train(resume_from_checkpoint=last_checkpoint(output))
    if not trainer.is_world_process_zero():
        return output / MODEL
    if lora:
        merge_lora(encoder.backbone)
    encoder.head.to(encoder.device)
    encoder.save(output / MODEL)
    model._create_model_card(str(output / MODEL))
    summary = {"steps": trainer.state.global_step, "train_loss": result.training_loss}
    if trainer.state.best_metric is not None:
        summary["best"] = trainer.state.best_metric
    (output / ROWS).unlink(missing_ok=True)
    (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return output / MODEL


def _trainer(
    recipe: Recipe,
    model: SentenceTransformer | MultiVectorEncoder,
    dataset: Dataset,
    evaluator: Any,
    log: TrainerCallback,
) -> Any:
    from sentence_transformers import (
        MultiVectorEncoderTrainer,
        MultiVectorEncoderTrainingArguments,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.sampler import BatchSamplers
    from transformers.trainer_callback import PrinterCallback

    dense = recipe.kind == "dense"
    columns = [name for name in dataset.column_names if name != "label"]
    tasks = {name: "query" if name == "query" else "document" for name in columns}
    arguments = arguments_of(recipe.training, len(dataset)) | {
        "prompts": {name: model.prompts[task] for name, task in tasks.items()},
        "router_mapping": tasks,
        "batch_sampler": BatchSamplers.BATCH_SAMPLER
        if recipe.scored
        else BatchSamplers.NO_DUPLICATES,
    }
    if evaluator is not None:
        every = recipe.training.evaluate_every or recipe.training.save_every
        arguments |= {"eval_strategy": "steps", "eval_steps": every}
        measure = f"eval_{evaluator.name}_{model.similarity_fn_name}_ndcg@10"
        if recipe.evaluation.best:
            arguments |= {
                "load_best_model_at_end": True,
                "metric_for_best_model": measure,
                "greater_is_better": True,
            }
    kind: Any = (
        SentenceTransformerTrainingArguments if dense else MultiVectorEncoderTrainingArguments
    )
    args = kind(**arguments)
    check_devices(args.n_gpu)
    trainer_kind: Any = SentenceTransformerTrainer if dense else MultiVectorEncoderTrainer
    trainer = trainer_kind(
        model=model,
        args=args,
        train_dataset=dataset,
        loss=build_loss(recipe.kind, model, recipe.loss),
        evaluator=evaluator,
        callbacks=[log],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def check_devices(gpus: int) -> None:
    """Raises InputError when one process sees several GPUs: a flat batch cannot be split."""
    if gpus > 1:
        raise InputError(
            f"{gpus} GPUs are visible to one process: start with torchrun --nproc-per-node "
            f"{gpus} -m mbert_retrieval.cli.train, or show it one with CUDA_VISIBLE_DEVICES"
        )


def leave_group() -> bool:
    """Wait for the other processes of a run and part from them, where there are any; without that
    a process may abort at its exit. Returns whether this is the first of them."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return True
    first = distributed.get_rank() == 0
    distributed.barrier()
    distributed.destroy_process_group()
    return first


def arguments_of(run: RunOptions, rows: int) -> dict[str, Any]:
    """Keyword arguments of transformers' TrainingArguments for a run on so many rows."""
    import torch

    cuda = torch.cuda.is_available()
    half = run.precision == "bf16" or (run.precision == "auto" and cuda)
    arguments: dict[str, Any] = {
        "output_dir": run.output,
        "per_device_train_batch_size": run.batch,
        "gradient_accumulation_steps": run.accumulate,
        "num_train_epochs": run.epochs,
        "max_steps": run.steps or -1,
        "learning_rate": run.learning_rate,
        "warmup_steps": run.warmup,
        "lr_scheduler_type": {
            "trapezoid": "warmup_stable_decay",
            "constant": "constant_with_warmup",
        }.get(run.schedule, run.schedule),
        "optim": {"adamw": "adamw_torch", "stable-adamw": "stable_adamw"}[run.optimizer],
        "weight_decay": run.weight_decay,
        "max_grad_norm": run.max_grad_norm,
        "bf16": half,
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
        steps = total_steps(run, rows)
        decay = round(steps * run.decay)
        arguments["lr_scheduler_kwargs"] = {"num_decay_steps": decay, "decay_type": "1-sqrt"}
    return arguments


def total_steps(run: RunOptions, rows: int) -> int:
    """Optimiser steps of a run on so many rows, all processes together."""
    import os

    if run.steps is not None:
        return run.steps
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    batches = -(-rows // (run.batch * processes))
    return max(1, round(-(-batches // run.accumulate) * run.epochs))


def build_evaluator(kind: str, options: EvaluationOptions) -> Any:
    """What measures nDCG@10 and the like on a BEIR folder during training (an information
    retrieval evaluator of sentence-transformers); None where no folder is named."""
    if options.data is None:
        return None
    from sentence_transformers.multi_vector_encoder.evaluation import (
        MultiVectorInformationRetrievalEvaluator,
    )
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    from ..eval.datasets import read_beir

    dataset = read_beir(options.data, options.split)
    relevant = {
        query: {id for id, grade in judged.items() if grade > 0}
        for query, judged in dataset.qrels.items()
    }
    evaluator: Any = InformationRetrievalEvaluator
    if kind == "colbert":
        evaluator = MultiVectorInformationRetrievalEvaluator
    return evaluator(
        {query: text for query, text in dataset.queries.items() if relevant[query]},
        {passage.id: passage.content for passage in dataset.passages()},
        {query: ids for query, ids in relevant.items() if ids},
        batch_size=options.batch,
        name=dataset.name,
        show_progress_bar=False,
    )


def log_callback(output: Path, report: Report | None) -> TrainerCallback:
    """Writes every entry that is logged as a line of log.jsonl, and gives it to `report`."""
    from transformers import TrainerCallback

    class Log(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not state.is_world_process_zero or not logs:
                return
            with open(output / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step} | logs) + "\n")
            if report is not None:
                report(state.global_step, state.max_steps, logs)

    return Log()
