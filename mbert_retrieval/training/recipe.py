"""Recipes of retrievers: every option of a fine-tuning run, with the checks that they fit together.

A recipe is a set of frozen dataclasses, one per section of the TOML file that `mbert-train` reads.
Each attribute has the name of its TOML option, unless the attribute says otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError
from .recipe_toml import check_types, parse_sections

OBJECTIVES = ("dense", "colbert")
LOSSES = ("contrastive", "cached", "kl", "margin-mse")
SCHEDULES = ("linear", "cosine", "constant", "trapezoid")
OPTIMIZERS = ("adamw", "stable-adamw")
PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class ModelOptions:
    """Section `[model]`: the encoder to train. Lengths and prompts default to those of the base.

    Attributes:
        base: "nano", a folder, or a model on the Hugging Face Hub.
        query_length: Maximum length of a query, in tokens.
        document_length: Maximum length of a document, in tokens.
        query_prompt: Text in front of every query.
        document_prompt: Text in front of every document.
        pooling: "mean" or "cls"; dense objective only.
        normalize: Whether dense vectors get unit norm; dense objective only.
        dimension: Dimension of the token vectors of a new late-interaction head.
        expansion: Whether a new late-interaction head expands queries with [MASK] tokens.
        skiplist: Whether a new late-interaction head skips punctuation in documents.
        gradient_checkpointing: Recompute activations in the backward pass, to save memory.
        lora_rank: Train low-rank updates of this rank instead of the network's matrices (LoRA).
            The head is trained in full.
        lora_alpha: The updates are scaled by lora_alpha / lora_rank; 2 * lora_rank by default.
    """

    base: str = ""
    query_length: int | None = None
    document_length: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    dimension: int | None = None
    expansion: bool | None = None
    skiplist: bool | None = None
    gradient_checkpointing: bool = False
    lora_rank: int | None = None
    lora_alpha: float | None = None


@dataclass(frozen=True)
class DataOptions:
    """Section `[data]`: the training rows. `dataset.py` describes the accepted forms of a row.

    Attributes:
        train: A .jsonl or .parquet file, a BEIR folder, or "hub:OWNER/NAME[/CONFIG][@SPLIT]".
        split: Qrels split of a BEIR folder (optional if there is only one).
        columns: Maps our column names to those of the data: {"query": "func_documentation"}.
        queries: Where `query_id` is looked up: a file or Hub data set of (id, text).
        documents: Where `document_ids` are looked up, in the same form.
        negatives: Negatives to use per row (contrastive losses). By default as many as the first
            row has; further ones are ignored.
        documents_per_query: Documents to use per scored row (distillation); same default.
        rows: Maximum number of rows.
        held_out: Number of rows to leave out of the training set, drawn as
            `datasets.Dataset.train_test_split` draws its test set.
        held_out_seed: Seed of that draw.
    """

    train: str = ""
    split: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    queries: str | None = None
    documents: str | None = None
    negatives: int | None = None
    documents_per_query: int | None = None
    rows: int | None = None
    held_out: int = 0
    held_out_seed: int = 12


@dataclass(frozen=True)
class LossOptions:
    """Section `[loss]`: the loss to minimise.

    Attributes:
        name: "contrastive" (in-batch negatives), "cached" (the same in mini-batches, by GradCache,
            Gao et al. 2021), "kl" or "margin-mse" (distillation of a teacher's scores).
        temperature: Scores are divided by it (under "kl" also the teacher's). By default 0.05 for
            contrastive dense training and 1 otherwise.
        mini_batch: Texts per forward pass of the cached loss.
        gather: Use the documents of all processes as negatives (contrastive and cached).
        normalize_scores: Rescale the student's scores of a row to 0..1 ("kl", late interaction).
        matryoshka: Leading dimensions that must also work alone (Kusupati et al. 2022); dense only.
        xtr: Score by the best `xtr` document tokens of the batch only (XTR, Lee et al. 2023); late
            interaction only.
    """

    name: str = "contrastive"
    temperature: float | None = None
    mini_batch: int = 32
    gather: bool = False
    normalize_scores: bool = False
    matryoshka: tuple[int, ...] = ()
    xtr: int | None = None


@dataclass(frozen=True)
class RunOptions:
    """Section `[training]`: optimisation, checkpoints and logging.

    Attributes:
        output: Folder of the run. The trained encoder is written to its `model` subfolder.
        epochs: Passes over the data.
        steps: Number of optimiser steps, instead of `epochs`.
        batch: Rows per step and device.
        accumulate: Steps whose gradients are added up before the optimiser runs.
        learning_rate: Peak learning rate.
        warmup: Fraction of all steps with a rising learning rate.
        schedule: "linear", "cosine", "constant" or "trapezoid" (flat, then a 1 - sqrt decay;
            Hägele et al. 2024).
        decay: Fraction of all steps in which the trapezoid decays.
        optimizer: "adamw" or "stable-adamw" (Wortsman et al. 2023).
        weight_decay: Weight decay of the optimiser.
        max_grad_norm: Gradients are clipped to this norm.
        precision: "bf16", "fp32", or "auto": bf16 on a GPU and fp32 on the CPU.
        seed: Seed of initial weights, dropout and the order of the rows.
        save_every: Steps between checkpoints.
        keep: Number of checkpoints to keep.
        evaluate_every: Steps between evaluations; `save_every` by default.
        log_every: Steps between log entries.
        workers: Processes that load data.
        report_to: Trackers, as transformers names them: "tensorboard", "wandb" and so on.
    """

    output: str = ""
    epochs: float = 1.0
    steps: int | None = None
    batch: int = 16
    accumulate: int = 1
    learning_rate: float = 2e-5
    warmup: float = 0.05
    schedule: str = "linear"
    decay: float = 0.1
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    precision: str = "auto"
    seed: int = 0
    save_every: int = 500
    keep: int = 2
    evaluate_every: int | None = None
    log_every: int = 10
    workers: int = 0
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluationOptions:
    """Section `[evaluation]`: what checkpoints are evaluated on.

    Attributes:
        data: A BEIR folder; no evaluation without one.
        split: Qrels split (optional if there is only one).
        batch: Texts per forward pass.
        best: Finish with the weights of the best checkpoint by nDCG@10 instead of the last one.
    """

    data: str | None = None
    split: str | None = None
    batch: int = 32
    best: bool = False


@dataclass(frozen=True)
class Recipe:
    """All options of a run that fine-tunes a retriever; see `train`.

    Attributes:
        objective: "dense" (one vector per text) or "colbert" (one vector per token, late
            interaction). The TOML option is `kind`.
        model: The encoder to train.
        data: The training rows.
        loss: The loss to minimise.
        training: Optimisation, checkpoints and logging.
        evaluation: What checkpoints are evaluated on.

    Raises:
        InputError: If an option is missing, has a wrong type or value, or does not fit another.
    """

    objective: str = field(metadata={"toml": "kind"})
    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataOptions = field(default_factory=DataOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    training: RunOptions = field(default_factory=RunOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(f"kind must be dense or colbert, not {self.objective!r}")
        check_types(self)
        model, loss = self.model, self.loss
        check_present(
            {
                "model.base": model.base,
                "data.train": self.data.train,
                "training.output": self.training.output,
            }
        )
        check_choice("loss.name", loss.name, LOSSES)
        if loss.temperature is not None and not 0 < loss.temperature < math.inf:
            raise InputError(f"loss.temperature must be above 0, not {loss.temperature}")
        if loss.matryoshka and self.objective == "colbert":
            raise InputError("loss.matryoshka has no meaning for colbert: remove it")
        if loss.xtr is not None and (self.objective == "dense" or loss.name == "margin-mse"):
            raise InputError("loss.xtr needs colbert with contrastive, cached or kl")
        if loss.normalize_scores and (self.objective == "dense" or loss.name != "kl"):
            raise InputError("loss.normalize_scores needs colbert with loss.name = 'kl'")
        check_run(self.training)
        if model.lora_rank is not None:
            check_positive("model", model, "lora_rank")
        if model.lora_alpha is not None and not (
            model.lora_rank and 0 < model.lora_alpha < math.inf
        ):
            raise InputError("model.lora_alpha must be above 0, and needs model.lora_rank")
        check_positive("loss", loss, "mini_batch", *(["xtr"] if loss.xtr is not None else []))
        if self.evaluation.best and not self.evaluation.data:
            raise InputError("evaluation.best needs evaluation.data")
        if self.training.evaluate_every and not self.evaluation.data:
            raise InputError("training.evaluate_every needs evaluation.data")

    @classmethod
    def parse(cls, objective: str, raw: dict[str, Any], where: str = "config") -> Recipe:
        """Build a recipe from the sections of a TOML file.

        Args:
            objective: "dense" or "colbert".
            raw: The sections, each a dictionary of options, as `tomllib` reads them. If they
                include `kind`, it must be the objective.
            where: What error messages call the source of the sections, such as a file name.

        Returns:
            The recipe; options that `raw` does not set have their default values.

        Raises:
            InputError: If a section or option is unknown, missing or has a wrong value; the message
                names it.

        Example:
            >>> sections = {"model": {"base": "nano"}, "data": {"train": "rows.jsonl"}}
            >>> recipe = Recipe.parse("dense", sections | {"training": {"output": "runs/a"}})
            >>> recipe.training.learning_rate
            2e-05
        """
        return cls(objective, **parse_sections(cls, objective, raw, where))

    @property
    def needs_scores(self) -> bool:
        """Whether the loss distils a teacher's scores, so that rows must have some."""
        return self.loss.name in ("kl", "margin-mse")


def check_present(options: dict[str, str]) -> None:
    """Raise InputError if one of the options (by their full names) is empty."""
    for name, value in options.items():
        if not value:
            raise InputError(f"{name} is missing: set it in the config file or by an option")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise InputError unless `value` is one of the choices."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_positive(section: str, options: Any, *names: str) -> None:
    """Raise InputError unless all the named options of a section are at least 1."""
    for name in names:
        if getattr(options, name) < 1:
            raise InputError(f"{section}.{name} must be at least 1, not {getattr(options, name)}")


def check_run(run: RunOptions) -> None:
    """Raise InputError if an option of `[training]` has a value that no run can have."""
    check_choice("training.schedule", run.schedule, SCHEDULES)
    check_choice("training.optimizer", run.optimizer, OPTIMIZERS)
    check_choice("training.precision", run.precision, PRECISIONS)
    check_positive("training", run, "batch", "accumulate", "save_every", "keep", "log_every")
    if run.steps is not None:
        check_positive("training", run, "steps")
    if run.evaluate_every is not None:
        check_positive("training", run, "evaluate_every")
    for name in ("epochs", "learning_rate", "max_grad_norm"):
        if not 0 < getattr(run, name) < math.inf:
            raise InputError(f"training.{name} must be above 0, not {getattr(run, name)}")
    for name in ("warmup", "decay"):
        if not 0 <= getattr(run, name) < 1:
            raise InputError(f"training.{name} must be a fraction of all steps, in [0, 1)")
    if run.schedule == "trapezoid" and run.warmup + run.decay > 1:
        raise InputError("training.warmup and training.decay must not add up to more than 1")
