"""Training: fine-tune retrievers, mine hard negatives, pretrain networks.

`train(Recipe)` fine-tunes a dense or late-interaction encoder, `mine(MineRecipe)` writes training
rows with hard negatives, `pretrain(MlmRecipe)` trains a ModernBERT network as a masked language
model. `mbert-train` runs the
same from the command line. Needs `pip install 'mbert-retrieval[train]'`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .finetune import train
    from .mining import MineRecipe, mine
    from .mlm import MlmRecipe, pretrain
    from .recipe import Recipe
    from .recipe_toml import override, read_toml

__all__ = [
    "MineRecipe",
    "MlmRecipe",
    "Recipe",
    "mine",
    "override",
    "pretrain",
    "read_toml",
    "train",
]

# loaded on first access: training needs torch and transformers, which take seconds to import
_LAZY = {
    "MineRecipe": ".mining",
    "MlmRecipe": ".mlm",
    "Recipe": ".recipe",
    "mine": ".mining",
    "override": ".recipe_toml",
    "pretrain": ".mlm",
    "read_toml": ".recipe_toml",
    "train": ".finetune",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
