"""Training: retrievers on sentence-transformers' trainers, masked language modelling, mining."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .finetune import train
    from .mining import mine
    from .mlm import pretrain

__all__ = ["mine", "pretrain", "train"]

# each needs torch and a trainer, which load when one is first asked for
_LAZY = {"mine": ".mining", "pretrain": ".mlm", "train": ".finetune"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
