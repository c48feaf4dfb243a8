"""Masked language modelling: pretraining, domain adaptation, and longer contexts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from ..backbone import MaskedLM, ModernBertConfig, initialise, load_network, save_network
from ..backbone.files import find_checkpoint
from ..encoders.tokens import TextTokenizer
from ..errors import InputError
from ..packed import Packed
from .finetune import MODEL, Report, arguments_of, check_devices, log_callback, total_steps
from .mlm_data import mask, pack_rows, tokenise
from .recipe import RunOptions, check_run, sections, to_toml
from .row_readers import read_rows
from .run_folder import last_checkpoint, record_recipe


@dataclass(frozen=True)
class NetworkOptions:
    """The network to train: `base`, a masked-LM checkpoint to go on from, or a new one of `shape`
    (fields of ModernBertConfig) with the tokenizer of the folder `tokenizer`.

    rope_theta, max_positions: raise them for longer texts (160000 and 8192 in ModernBERT's second
    phase).
    """

    base: str | None = None
    tokenizer: str | None = None
    shape: dict[str, int] = field(default_factory=dict)
    rope_theta: float | None = None
    max_positions: int | None = None
    gradient_checkpointing: bool = False


@dataclass(frozen=True)
class TextOptions:
    """train: a .jsonl or .parquet file, or "hub:OWNER/NAME[/CONFIG][@SPLIT]". column: its texts.
    length: tokens of a row; longer texts are cut, shorter ones share a row unseen by each other.
    masked: the share of tokens to predict."""

    train: str = ""
    column: str = "text"
    length: int = 1024
    masked: float = 0.3


def pretraining_options() -> RunOptions:
    """ModernBERT's optimiser, schedule and learning rate."""
    return RunOptions(
        learning_rate=8e-4, schedule="trapezoid", optimizer="stable-adamw", weight_decay=1e-5
    )


@dataclass(frozen=True)
class MlmRecipe:
    """All sections. `training.batch` counts rows of `data.length` tokens."""

    kind: str = "mlm"
    model: NetworkOptions = field(default_factory=NetworkOptions)
    data: TextOptions = field(default_factory=TextOptions)
    training: RunOptions = field(default_factory=pretraining_options)

    def __post_init__(self) -> None:
        """Raises InputError for what cannot be trained."""
        model = self.model
        if (model.base is None) == (model.tokenizer is None):
            raise InputError(
                "name model.base, or model.tokenizer with model.shape for a new network"
            )
        if model.base is not None and model.shape:
            raise InputError("model.shape is for a new network: leave it out beside model.base")
        for name, value in (
            ("data.train", self.data.train),
            ("training.output", self.training.output),
        ):
            if not value:
                raise InputError(f"{name} is missing: name it in the config or by a flag")
        if self.data.length < 8:
            raise InputError(f"data.length must be at least 8 tokens, not {self.data.length}")
        if not 0 < self.data.masked < 1:
            raise InputError("data.masked is a share of the tokens, between 0 and 1")
        check_run(self.training)

    @classmethod
    def parse(cls, raw: dict[str, Any], where: str = "config") -> MlmRecipe:
        """A recipe of the sections of a TOML file. Raises InputError that names the key."""
        return cls("mlm", **sections(cls, "mlm", raw, where))


def pretrain(recipe: MlmRecipe, report: Report | None = None) -> Path:
    """Train a masked language model, and give the folder that transformers and we load.

    Called again after an interruption it goes on from the last whole checkpoint: rows and masks of
    every step are drawn from the seed and the step alone, so it ends with the same weights.
    Raises InputError for data, options or a base that do not fit.
    """
    run, output = recipe.training, Path(recipe.training.output)
    record_recipe(output, to_toml(recipe))
    set_seed(run.seed)
    network, tokenizer = _network(recipe.model, recipe.data.length, run.seed)
    config = network.config
    mask_id = tokenizer.id_of(tokenizer.special_token("mask_token") or "[MASK]")
    if mask_id is None:
        raise InputError("the tokenizer has no [MASK] token")
    ends = config.cls_token_id, config.sep_token_id
    tokens = tokenise(_texts(recipe.data), tokenizer, recipe.data.length, *ends, output / "tokens")
    rows = pack_rows(tokens.lengths, recipe.data.length, run.seed)
    steps = total_steps(run, len(rows))
    arguments = arguments_of(run, len(rows)) | {"max_steps": steps, "remove_unused_columns": False}
    args = TrainingArguments(**arguments)
    check_devices(args.n_gpu)
    items = steps * run.batch * run.accumulate * max(1, args.world_size)
    collate = partial(
        _collate,
        special=np.array([config.pad_token_id, *ends, mask_id]),
        share=recipe.data.masked,
        mask_id=mask_id,
        vocabulary=config.vocab_size,
    )
    network.model.gradient_checkpointing = recipe.model.gradient_checkpointing
    trainer = _MaskedLMTrainer(
        model=WithLoss(network),
        args=args,
        train_dataset=PackedRows(tokens, rows, items, run.seed),
        data_collator=collate,
        callbacks=[log_callback(output, report)],
    )
    trainer.remove_callback(PrinterCallback)
    result = trainer.train(resume_from_checkpoint=last_checkpoint(output))
    if trainer.is_world_process_zero():
        save_network(network, output / MODEL)
        tokenizer.config["model_max_length"] = config.max_position_embeddings
        tokenizer.save(output / MODEL)
        summary = {"steps": trainer.state.global_step, "train_loss": result.training_loss}
        (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    return output / MODEL


def _network(options: NetworkOptions, length: int, seed: int) -> tuple[MaskedLM, TextTokenizer]:
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
    ids: dict[str, int] = {}
    for role in ("pad", "cls", "sep"):
        found = tokenizer.id_of(tokenizer.special_token(f"{role}_token") or f"[{role.upper()}]")
        if found is None:
            raise InputError(f"{options.tokenizer}: the tokenizer has no {role}_token")
        ids[f"{role}_token_id"] = found
    shape: dict[str, Any] = {"vocab_size": tokenizer.backend.get_vocab_size()} | options.shape
    unknown = shape.keys() - ModernBertConfig.__dataclass_fields__.keys()
    if unknown:
        raise InputError(f"model.shape: {sorted(unknown)[0]!r} is no field of ModernBertConfig")
    config = ModernBertConfig(**(ids | shape | changes))
    network = MaskedLM(config)
    initialise(network, config, torch.Generator().manual_seed(seed))
    return network


def _texts(options: TextOptions) -> Iterator[str]:
    for place, row in read_rows(options.train):
        text = row.get(options.column)
        if not isinstance(text, str):
            raise InputError(f"{place}: no text under {options.column!r}")
        yield text


class WithLoss(nn.Module):
    """A masked language model as transformers' trainer runs it: batch in, {"loss"} out."""

    def __init__(self, network: MaskedLM) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, input_ids: Tensor, cu_seqlens: Tensor, predicted: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """input_ids: (N,). cu_seqlens: (B + 1,). predicted: (M,) places. labels: (M,) their ids."""
        logits = self.network(input_ids, cu_seqlens, predicted)
        return {"loss": F.cross_entropy(logits.float(), labels)}


class PackedRows(Dataset):
    """`items` rows in the order in which they are trained on: all rows, each time round in another
    order. An item is (its token pieces, a seed for its masks)."""

    def __init__(self, tokens: Packed, rows: list[np.ndarray], items: int, seed: int) -> None:
        self.tokens, self.rows, self.items, self.seed = tokens, rows, items, seed
        self._round = -1
        self._order = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, item: int) -> tuple[Packed, tuple[int, int]]:
        if not 0 <= item < self.items:
            raise IndexError(item)
        round_, place = divmod(item, len(self.rows))
        if round_ != self._round:
            self._round = round_
            self._order = np.random.default_rng([self.seed, round_]).permutation(len(self.rows))
        return self.tokens.select(self.rows[self._order[place]]), (self.seed, item)


def _collate(
    items: list[tuple[Packed, tuple[int, int]]],
    special: np.ndarray,
    share: float,
    mask_id: int,
    vocabulary: int,
) -> dict[str, Tensor]:
    """Rows laid end to end and masked; see `WithLoss.forward`."""
    read, places, labels, filled = [], [], [], 0
    for row, seed in items:
        ids = row.values.astype(np.int64)
        random = np.random.default_rng(seed)
        masked, chosen = mask(ids, special, share, mask_id, vocabulary, random)
        read.append(masked)
        places.append(chosen + filled)
        labels.append(ids[chosen])
        filled += len(ids)
    offsets = Packed.concatenate([row for row, _ in items]).offsets
    return {
        "input_ids": torch.from_numpy(np.concatenate(read)),
        "cu_seqlens": torch.from_numpy(offsets),
        "predicted": torch.from_numpy(np.concatenate(places)),
        "labels": torch.from_numpy(np.concatenate(labels)),
    }


class _MaskedLMTrainer(Trainer):
    """transformers' trainer over rows that come in their order, with our checkpoint format."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        dataset: Any = train_dataset or self.train_dataset
        return SequentialSampler(dataset)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        save_network(self._bare().network, output_dir or str(self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        stored = load_network(MaskedLM, resume_from_checkpoint)
        self._bare().network.load_state_dict(stored.state_dict())

    def _bare(self) -> WithLoss:
        model = self.accelerator.unwrap_model(self.model)
        assert isinstance(model, WithLoss)
        return model
