"""Masked language modelling: pretraining, domain adaptation, and longer contexts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from ..backbone import MaskedLM, ModernBertConfig, initialise, load_network, save_network
from ..backbone.files import find_checkpoint
from ..encoders.tokens import TextTokenizer
from ..errors import InputError
from .mlm_data import Masking, PackedRows, PieceFormat, collate, pack_rows, tokenise
from .recipe import RunOptions, check_present, check_run
from .recipe_toml import check_types, parse_sections
from .row_readers import read_rows
from .run_folder import RunFolder
from .trainer import Report, check_devices, log_callback, total_steps, trainer_arguments


@dataclass(frozen=True)
class NetworkOptions:
    """Section `[model]`: the network to train, either `base` or a new one.

    Attributes:
        base: A masked-LM checkpoint to continue from: a folder or a model on the Hub.
        tokenizer: For a new network: the folder or Hub model whose tokenizer it uses.
        shape: For a new network: fields of ModernBertConfig, such as hidden_size.
        rope_theta: RoPE theta of the global layers, raised for longer texts (160,000 in
            ModernBERT's second phase).
        max_positions: Maximum length of a text, in tokens (8,192 in the second phase).
        gradient_checkpointing: Recompute activations in the backward pass, to save memory.
    """

    base: str | None = None
    tokenizer: str | None = None
    shape: dict[str, int] = field(default_factory=dict)
    rope_theta: float | None = None
    max_positions: int | None = None
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class TextOptions:
    """Section `[data]`: the texts.

    Attributes:
        train: A .jsonl or .parquet file, or "hub:OWNER/NAME[/CONFIG][@SPLIT]".
        column: Name of the column with the text.
        length: Tokens per row. Longer texts are cut into pieces; shorter ones share a row, without
            attending to each other.
        masked: Fraction of the tokens to predict.
    """

    train: str = ""
    column: str = "text"
    length: int = 1024
    masked: float = 0.3


def pretraining_options() -> RunOptions:
    """Return ModernBERT's optimiser, schedule and learning rate."""
    return RunOptions(
        learning_rate=8e-4, schedule="trapezoid", optimizer="stable-adamw", weight_decay=1e-5
    )


@dataclass(frozen=True)
class MlmRecipe:
    """All options of a run of masked language modelling; see `pretrain`.

    Attributes:
        objective: "mlm". The TOML option is `kind`.
        model: The network to train.
        data: The texts.
        training: Optimisation, checkpoints and logging. `batch` counts rows of `data.length`
            tokens.

    Raises:
        InputError: If an option is missing, has a wrong type or value, or does not fit another.
    """

    objective: str = field(default="mlm", metadata={"toml": "kind"})
    model: NetworkOptions = field(default_factory=NetworkOptions)
    data: TextOptions = field(default_factory=TextOptions)
    training: RunOptions = field(default_factory=pretraining_options)

    def __post_init__(self) -> None:
        check_types(self)
        model, data = self.model, self.data
        if (model.base is None) == (model.tokenizer is None):
            raise InputError(
                "set either model.base, or model.tokenizer and model.shape for a new network"
            )
        if model.base is not None and model.shape:
            raise InputError("model.shape is for a new network: remove it, or model.base")
        check_present({"data.train": data.train, "training.output": self.training.output})
        if data.length < 8:
            raise InputError(f"data.length must be at least 8 tokens, not {data.length}")
        if not 0 < data.masked < 1:
            raise InputError("data.masked must be a fraction of the tokens, between 0 and 1")
        check_run(self.training)

    @classmethod
    def parse(cls, raw: dict[str, Any], where: str = "config") -> MlmRecipe:
        """Build a recipe from the sections of a TOML file.

        Args:
            raw: The sections, each a dictionary of options, as `tomllib` reads them.
            where: What error messages call the source of the sections, such as a file name.

        Returns:
            The recipe; options that `raw` does not set have their default values.

        Raises:
            InputError: If a section or option is unknown, missing or has a wrong value; the message
                names it.

        Example:
            >>> model = {"base": "answerdotai/ModernBERT-base"}
            >>> sections = {"model": model, "data": {"train": "texts.jsonl"}}
            >>> MlmRecipe.parse(sections | {"training": {"output": "runs/a"}}).data.length
            1024
        """
        return cls("mlm", **parse_sections(cls, "mlm", raw, where))


def pretrain(recipe: MlmRecipe, report: Report | None = None) -> Path:
    """Train a ModernBERT network by masked language modelling.

    Trains a new network, adapts one to a domain, or extends its context, as ModernBERT was trained
    (Warner et al. 2024, arXiv 2412.13663). The rows and masks of a step depend on the seed and the
    step only: after an interruption the same call resumes from the last complete checkpoint and
    ends with the weights of an uninterrupted run.

    Args:
        recipe: All options of the run.
        report: Called with the step, the number of all steps and the log entry (a dictionary of
            floats) every `recipe.training.log_every` steps.

    Returns:
        The folder of the trained network, which transformers and `mbert-train` (as `model.base`)
        load.

    Raises:
        TypeError: If `recipe` is no MlmRecipe.
        InputError: If data, options or base do not fit each other, or the folder holds a run of
            another recipe.

    Example:
        >>> import json, tempfile, mbert_retrieval
        >>> from mbert_retrieval.training import MlmRecipe, pretrain
        >>> folder = tempfile.mkdtemp()
        >>> nano = f"{mbert_retrieval.__path__[0]}/encoders/nano"
        >>> with open(f"{folder}/texts.jsonl", "w") as file:
        ...     _ = file.write(json.dumps({"text": "a text to learn from"}) + "\\n")
        >>> size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
        >>> recipe = MlmRecipe.parse({
        ...     "model": {"tokenizer": nano, "shape": size | {"num_attention_heads": 1}},
        ...     "data": {"train": f"{folder}/texts.jsonl", "length": 16},
        ...     "training": {"output": f"{folder}/run", "steps": 1, "optimizer": "adamw"},
        ... })
        >>> pretrain(recipe).name
        'model'
    """
    if not isinstance(recipe, MlmRecipe):
        raise TypeError(
            f"recipe must be an MlmRecipe, not {type(recipe).__name__}: see MlmRecipe.parse"
        )
    run, folder = recipe.training, RunFolder(recipe.training.output)
    folder.record_recipe(recipe)
    set_seed(run.seed)
    network, tokenizer = _network(recipe.model, recipe.data.length, run.seed)
    config = network.config
    mask_id = tokenizer.id_of(tokenizer.special_token("mask_token") or "[MASK]")
    if mask_id is None:
        raise InputError("the tokenizer has no [MASK] token")
    form = PieceFormat(recipe.data.length, config.cls_token_id, config.sep_token_id)
    special_ids = (config.pad_token_id, form.cls_id, form.sep_id, mask_id)
    masking = Masking(recipe.data.masked, mask_id, special_ids, config.vocab_size)
    pieces = tokenise(_texts(recipe.data), tokenizer, form, folder.path / "tokens")
    rows = pack_rows(pieces.lengths, form.length, run.seed)
    steps = total_steps(run, len(rows))
    arguments = trainer_arguments(run, len(rows))
    args = TrainingArguments(**arguments | {"max_steps": steps, "remove_unused_columns": False})
    check_devices(args.n_gpu)
    items = steps * run.batch * run.accumulate * max(1, args.world_size)
    network.model.gradient_checkpointing = recipe.model.gradient_checkpointing
    trainer = _MaskedLMTrainer(
        model=MaskedLMWithLoss(network),
        args=args,
        train_dataset=PackedRows(pieces, rows, items, run.seed),
        data_collator=partial(collate, masking=masking),
        callbacks=[log_callback(folder, report)],
    )
    trainer.remove_callback(PrinterCallback)
    result = trainer.train(resume_from_checkpoint=folder.last_checkpoint())
    if trainer.is_world_process_zero():
        save_network(network, folder.model)
        tokenizer.config["model_max_length"] = config.max_position_embeddings
        tokenizer.save(folder.model)
        folder.write_summary(
            {"steps": trainer.state.global_step, "train_loss": result.training_loss}
        )
    return folder.model


def _network(options: NetworkOptions, length: int, seed: int) -> tuple[MaskedLM, TextTokenizer]:
    """The network to train and its tokenizer. Raises InputError if rows exceed its positions."""
    changes: dict[str, Any] = {}
    if options.rope_theta is not None:
        changes["global_rope_theta"] = options.rope_theta
    if options.max_positions is not None:
        changes["max_position_embeddings"] = options.max_positions
    if options.base is not None:
        folder = find_checkpoint(options.base)
        tokenizer = TextTokenizer.load(folder)
        network = load_network(MaskedLM, folder)
        config = replace(network.config, **changes)
        network.config = network.model.config = config
    else:
        tokenizer = TextTokenizer.load(find_checkpoint(str(options.tokenizer)))
        network = _new_network(options, tokenizer, changes, seed)
    if length > network.config.max_position_embeddings:
        raise InputError(
            f"data.length {length} is above the network's {network.config.max_position_embeddings} "
            "positions: set model.max_positions (and model.rope_theta)"
        )
    return network, tokenizer


def _new_network(
    options: NetworkOptions, tokenizer: TextTokenizer, changes: dict[str, Any], seed: int
) -> MaskedLM:
    """A network of random weights."""
    ids: dict[str, int] = {}
    for role in ("pad", "cls", "sep"):
        token_id = tokenizer.id_of(tokenizer.special_token(f"{role}_token") or f"[{role.upper()}]")
        if token_id is None:
            raise InputError(f"{options.tokenizer}: the tokenizer has no {role}_token")
        ids[f"{role}_token_id"] = token_id
    shape: dict[str, Any] = {"vocab_size": tokenizer.backend.get_vocab_size()} | options.shape
    unknown = shape.keys() - ModernBertConfig.__dataclass_fields__.keys()
    if unknown:
        raise InputError(f"model.shape: {sorted(unknown)[0]!r} is not a field of ModernBertConfig")
    config = ModernBertConfig(**(ids | shape | changes))
    network = MaskedLM(config)
    initialise(network, config, torch.Generator().manual_seed(seed))
    return network


def _texts(options: TextOptions) -> Iterator[str]:
    for location, row in read_rows(options.train):
        text = row.get(options.column)
        if not isinstance(text, str):
            raise InputError(f"{location}: no text under {options.column!r}")
        yield text


class MaskedLMWithLoss(nn.Module):
    """A masked language model in the form that transformers' trainer runs: batch in, loss out."""

    def __init__(self, network: MaskedLM) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: Tensor, cu_seqlens: Tensor, predicted: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Compute the cross-entropy of the masked tokens.

        Args:
            input_ids: (N,) int64, the masked ids of all pieces.
            cu_seqlens: (B + 1,) int64, offsets of the pieces.
            predicted: (M,) int64, positions of the tokens to predict.
            labels: (M,) int64, their ids.

        Returns:
            {"loss": scalar}, the mean over the M tokens.
        """
        logits = self.network(input_ids, cu_seqlens, predicted)
        return {"loss": F.cross_entropy(logits.float(), labels)}


class _MaskedLMTrainer(Trainer):
    """transformers' trainer that reads rows in their order and writes our checkpoint format."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        dataset: Any = train_dataset or self.train_dataset
        return SequentialSampler(dataset)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_network(self._unwrapped().network, output_dir or str(self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        stored = load_network(MaskedLM, resume_from_checkpoint)
        self._unwrapped().network.load_state_dict(stored.state_dict())

    def _unwrapped(self) -> MaskedLMWithLoss:
        model = self.accelerator.unwrap_model(self.model)
        assert isinstance(model, MaskedLMWithLoss)
        return model
