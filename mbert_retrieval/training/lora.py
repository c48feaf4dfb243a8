"""LoRA (Hu et al. 2021, arXiv 2106.09685): low-rank updates of the network's matrices, by peft.

The network's own weights are frozen. A checkpoint contains weights and updates under peft's names;
the trained encoder contains their sum under the published names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..backbone import ModernBert
from ..backbone.checkpoint import fill, read_tensors
from ..backbone.files import read_config
from ..errors import InputError
from .recipe import ModelOptions

MATRICES = ["Wqkv", "Wo", "Wi"]


@dataclass(frozen=True)
class Lora:
    """Rank of the updates, which are scaled by alpha / rank."""

    rank: int
    alpha: float

    @classmethod
    def from_options(cls, options: ModelOptions) -> Lora | None:
        """Return what a recipe's `[model]` section sets; None without `lora_rank`."""
        rank = options.lora_rank
        return cls(rank, options.lora_alpha or 2.0 * rank) if rank else None


def add_lora(backbone: ModernBert, lora: Lora) -> None:
    """Add an update, initially zero, to every matrix of the layers, and freeze all other weights.

    Draws from torch's global generator. Raises InputError if peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError(
            "model.lora_rank needs peft: pip install 'mbert-retrieval[lora]'"
        ) from None
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=MATRICES)  # type: ignore[arg-type]
    inject_adapter_in_model(config, backbone)


def merge_lora(backbone: ModernBert) -> None:
    """Add the updates to their matrices, remove them, and unfreeze all weights."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            backbone.set_submodule(name, layer.get_base_layer())
    backbone.requires_grad_(True)


def load_with_lora(folder: Path, lora: Lora) -> ModernBert:
    """Load the network of a checkpoint, with its updates still separate."""
    backbone = ModernBert(read_config(folder))
    add_lora(backbone, lora)
    fill(backbone, read_tensors(folder), folder)
    return backbone
