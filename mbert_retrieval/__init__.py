"""Dense and late-interaction (ColBERT) retrieval on ModernBERT, for code and for long documents."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .types import Hit, Passage

if TYPE_CHECKING:
    from .encoders import load_encoder
    from .index import Index
    from .packed import Packed

__all__ = ["Hit", "Index", "InputError", "Packed", "Passage", "load_encoder"]
__version__ = "0.1.0"


# what needs numpy, torch or an index engine loads when it is first asked for
_LAZY = {"Index": ".index", "Packed": ".packed", "load_encoder": ".encoders"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
