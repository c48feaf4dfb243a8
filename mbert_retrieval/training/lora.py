"""LoRA (Hu et al. 2021): low-rank updates of the network's matrices, by peft.

The network's own weights stand still; a checkpoint holds both, under peft's names, and the trained
encoder their sum under the published ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..backbone import ModernBert
from ..backbone.checkpoint import fill, read_tensors
from ..backbone.files import read_config
from ..errors import InputError

MATRICES = ["Wqkv", "Wo", "Wi"]


@dataclass(frozen=True)
class Lora:
    """The rank of the updates; they are scaled by alpha / rank."""

    rank: int
    alpha: float


def add_lora(backbone: ModernBert, lora: Lora) -> None:
    """Give every matrix of the layers an update, zero to begin with; nothing else of the network is
    trained from here on. Draws from torch's global generator. Raises InputError without peft."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise InputError(
            "model.lora_rank needs peft: pip install 'mbert-retrieval[lora]'"
        ) from None
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=MATRICES)  # type: ignore[arg-type]
    inject_adapter_in_model(config, backbone)


def merge_lora(backbone: ModernBert) -> None:
    """Add the updates to the matrices and take them off."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(backbone.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            backbone.set_submodule(name, layer.get_base_layer())
    backbone.requires_grad_(True)


def load_with_lora(folder: Path, lora: Lora) -> ModernBert:
    """The network of a checkpoint, its updates apart."""
    backbone = ModernBert(read_config(folder))
    add_lora(backbone, lora)
    fill(backbone, read_tensors(folder), folder)
    return backbone
