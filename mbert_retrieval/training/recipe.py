"""A recipe: everything that decides a training run, as a TOML file has it."""

from __future__ import annotations

import json
import math
import tomllib
import types
import typing
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError

LOSSES = ("contrastive", "cached", "kl", "margin-mse")
SCHEDULES = ("linear", "cosine", "constant", "trapezoid")
OPTIMIZERS = ("adamw", "stable-adamw")
PRECISIONS = ("auto", "bf16", "fp32")


@dataclass(frozen=True)
class ModelOptions:
    """What is trained.

    base: "nano", a folder or a model of the hub. A length or prompt that is left out is the base's.
    pooling, normalize: dense only. dimension, expansion, skiplist: of a new late-interaction head.
    gradient_checkpointing: trade time for memory. lora_rank: of the network train low-rank updates
        of its matrices alone (LoRA), the head as ever; lora_alpha / lora_rank is their scale, by
        default 2.
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
    """What it is trained on; see `data`.

    train: a .jsonl or .parquet file, a BEIR folder, or "hub:OWNER/NAME[/CONFIG][@SPLIT]".
    split: which judgements of a BEIR folder.
    columns: the set's names of our columns, {"query": "func_documentation"}.
    queries, documents: where ids of the rows are looked up, files or hub sets of (id, text).
    negatives: how many of each row (contrastive); documents_per_query: of a scored row. By default
        as many as the first row has; what a row has beyond is left out.
    rows: no more than so many. held_out: leave so many out, drawn with held_out_seed, as
        `train_test_split` of datasets draws its test part.
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
    """What is minimised.

    name: contrastive, cached (the same in mini-batches by GradCache), kl or margin-mse.
    temperature: scores are divided by it (student and teacher alike under kl); by default 0.05 for
        contrastive dense training, 1 otherwise.
    mini_batch: texts of one pass of the cached loss.
    gather: documents of all processes are negatives (contrastive and cached).
    normalize_scores: student scores of a row stretched to 0..1 (kl, late interaction).
    matryoshka: dimensions that are to work alone, dense only.
    xtr: score by the best so many document tokens of the batch (XTR), late interaction only.
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
    """How it is trained.

    output: folder of the run; the encoder ends in its `model` subfolder.
    batch: rows a step and device; accumulate: steps whose gradients are added up.
    steps: instead of epochs. warmup, decay: shares of all steps (decay: the trapezoid's 1 - sqrt).
    precision: auto is bf16 on a GPU and fp32 on the CPU.
    save_every, evaluate_every, log_every: steps. keep: checkpoints.
    report_to: tensorboard, wandb and so on, as transformers names them.
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
    """What checkpoints are measured on: a BEIR folder. best: end with the best checkpoint's weights
    by nDCG@10 instead of with the last."""

    data: str | None = None
    split: str | None = None
    batch: int = 32
    best: bool = False


@dataclass(frozen=True)
class Recipe:
    """All sections. kind: "dense" or "colbert"."""

    kind: str
    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataOptions = field(default_factory=DataOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    training: RunOptions = field(default_factory=RunOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)

    def __post_init__(self) -> None:
        """Raises InputError for what cannot be trained."""
        if self.kind not in ("dense", "colbert"):
            raise InputError(f"kind must be dense or colbert, not {self.kind!r}")
        for name, value in (
            ("model.base", self.model.base),
            ("data.train", self.data.train),
            ("training.output", self.training.output),
        ):
            if not value:
                raise InputError(f"{name} is missing: name it in the config or by a flag")
        loss = self.loss
        choose("loss.name", loss.name, LOSSES)
        if loss.temperature is not None and not 0 < loss.temperature < math.inf:
            raise InputError(f"loss.temperature must be above 0, not {loss.temperature}")
        if loss.matryoshka and self.kind == "colbert":
            raise InputError("loss.matryoshka means nothing for colbert: leave it out")
        if loss.xtr is not None and (self.kind == "dense" or loss.name == "margin-mse"):
            raise InputError("loss.xtr needs colbert with contrastive, cached or kl")
        if loss.normalize_scores and (self.kind == "dense" or loss.name != "kl"):
            raise InputError("loss.normalize_scores needs colbert with loss.name = 'kl'")
        check_run(self.training)
        model = self.model
        if model.lora_rank is not None:
            positive("model", model, "lora_rank")
        if model.lora_alpha is not None and not (
            model.lora_rank and 0 < model.lora_alpha < math.inf
        ):
            raise InputError("model.lora_alpha must be above 0, and needs model.lora_rank")
        positive("loss", loss, "mini_batch", *(["xtr"] if loss.xtr is not None else []))
        if self.evaluation.best and not self.evaluation.data:
            raise InputError("evaluation.best needs evaluation.data")
        if self.training.evaluate_every and not self.evaluation.data:
            raise InputError("training.evaluate_every needs evaluation.data")

    @property
    def scored(self) -> bool:
        """Whether the loss learns from a teacher's scores."""
        return self.loss.name in ("kl", "margin-mse")


def choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises InputError unless `value` is one of the choices."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def positive(section: str, options: Any, *names: str) -> None:
    """Raises InputError unless all the named options are at least 1."""
    for name in names:
        if getattr(options, name) < 1:
            raise InputError(f"{section}.{name} must be at least 1, not {getattr(options, name)}")


def check_run(run: RunOptions) -> None:
    """Raises InputError for numbers and names that no run can have."""
    choose("training.schedule", run.schedule, SCHEDULES)
    choose("training.optimizer", run.optimizer, OPTIMIZERS)
    choose("training.precision", run.precision, PRECISIONS)
    positive("training", run, "batch", "accumulate", "save_every", "keep", "log_every")
    if run.steps is not None:
        positive("training", run, "steps")
    if run.evaluate_every is not None:
        positive("training", run, "evaluate_every")
    for name in ("epochs", "learning_rate", "max_grad_norm"):
        if not 0 < getattr(run, name) < math.inf:
            raise InputError(f"training.{name} must be above 0, not {getattr(run, name)}")
    for name in ("warmup", "decay"):
        if not 0 <= getattr(run, name) < 1:
            raise InputError(f"training.{name} is a share of all steps, from 0 to below 1")
    if run.schedule == "trapezoid" and run.warmup + run.decay > 1:
        raise InputError("training.warmup and training.decay add up to more than all steps")


Options = TypeVar("Options")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file. Raises InputError that names it, and the place where it is broken."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error})") from None


def override(raw: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """`raw` with "section.key=value" put over it; values are TOML, or else plain strings.

    Raises InputError for what is no such assignment.
    """
    merged = {name: dict(part) if isinstance(part, dict) else part for name, part in raw.items()}
    for assignment in assignments:
        place, equals, text = assignment.partition("=")
        section, dot, key = place.strip().partition(".")
        if not (equals and dot and section and key):
            raise InputError(f"{assignment!r} is not section.key=value")
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except (tomllib.TOMLDecodeError, KeyError):
            value = text.strip()
        part = merged.setdefault(section, {})
        if not isinstance(part, dict):
            raise InputError(f"{section} is not a section")
        part[key] = value
    return merged


def parse(kind: str, raw: dict[str, Any], where: str = "config") -> Recipe:
    """A recipe of the sections of a TOML file. Raises InputError that names section and key."""
    return Recipe(kind, **sections(Recipe, kind, raw, where))


def sections(recipe: type, kind: str, raw: dict[str, Any], where: str) -> dict[str, Any]:
    """The sections of a recipe class, each built from its part of `raw`. Raises InputError for what
    says to be of another kind, too."""
    own = raw.get("kind", kind)
    if own != kind:
        raise InputError(f"{where} is a recipe of kind {own!r}, not {kind!r}")
    raw = {name: part for name, part in raw.items() if name != "kind"}
    known: dict[str, Any] = {
        f.name: f.default_factory() for f in fields(recipe) if f.default_factory is not MISSING
    }
    for name, part in raw.items():
        if name not in known:
            raise InputError(f"{where}: unknown section {name!r}; there is {', '.join(known)}")
        if not isinstance(part, dict):
            raise InputError(f"{where}: {name} must be a section, [{name}]")
    return {
        name: _fill(default, raw.get(name, {}), f"{where}: {name}")
        for name, default in known.items()
    }


def _fill(default: Options, raw: dict[str, Any], where: str) -> Options:
    kinds = typing.get_type_hints(type(default))
    values = {}
    for key, value in raw.items():
        if key not in kinds:
            raise InputError(f"{where}.{key} is unknown; there is {', '.join(kinds)}")
        values[key] = _typed(value, kinds[key], f"{where}.{key}")
    return replace(default, **values)  # type: ignore[type-var]


def _typed(value: Any, kind: Any, where: str) -> Any:
    """The value as the type says. Raises InputError where it is of another."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            inner = typing.get_args(option)[0]
            return tuple(_typed(item, inner, where) for item in value)
        if typing.get_origin(option) is dict and isinstance(value, dict):
            inner = typing.get_args(option)[1]
            return {str(k): _typed(v, inner, f"{where}.{k}") for k, v in value.items()}
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if option is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if option in (str, bool) and isinstance(value, option):
            return value
    names = " or ".join(
        getattr(option, "__name__", str(option)) for option in options if option is not type(None)
    )
    raise InputError(f"{where} must be {names}, not {value!r}")


def to_toml(recipe: Any) -> str:
    """The recipe as the TOML file that makes it; options that are not set are left out."""
    lines: list[str] = []
    if hasattr(recipe, "kind"):
        lines += [f"kind = {json.dumps(recipe.kind)}", ""]
    for section in fields(recipe):
        options = getattr(recipe, section.name)
        if section.name == "kind":
            continue
        lines.append(f"[{section.name}]")
        for option in fields(options):
            value = getattr(options, option.name)
            if value is not None:
                lines.append(f"{option.name} = {_toml_value(value)}")
        lines.append("")
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{_quoted(k)} = {_toml_value(v)}" for k, v in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes, and one more."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
