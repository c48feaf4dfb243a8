"""The ModernBERT network on packed batches; loads and saves Hugging Face checkpoints."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import ModernBertConfig

if TYPE_CHECKING:
    from .checkpoint import load_network, save_network
    from .heads import Classifier, MaskedLM
    from .model import ModernBert, initialise

__all__ = [
    "Classifier",
    "MaskedLM",
    "ModernBert",
    "ModernBertConfig",
    "initialise",
    "load_network",
    "save_network",
]

# what needs torch is imported at its first use, because a query is answered without torch
_LAZY = {
    "Classifier": ".heads",
    "MaskedLM": ".heads",
    "ModernBert": ".model",
    "initialise": ".model",
    "load_network": ".checkpoint",
    "save_network": ".checkpoint",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
